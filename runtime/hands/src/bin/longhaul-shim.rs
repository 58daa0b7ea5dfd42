//! The shim alone, in a small program. The `longhaul` binary contains the same code under the verb `shim`.

fn main() {
    longhaul_hands::main_if_shim();
    eprintln!("error: this program is started by longhaul as `longhaul-shim shim DIR`");
    eprintln!("hint: there is nothing to do here by hand; see `longhaul run --help`");
    std::process::exit(2);
}
