//! Reads a goal a line from standard input: `cargo run -p longhaul-policy --example goals < lines`.

fn main() {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let reading = longhaul_policy::goal::read(&line.replace("\\n", "\n"));
        let names = |all: &[longhaul_policy::Category]| {
            all.iter()
                .map(|category| category.name())
                .collect::<Vec<_>>()
                .join(",")
        };
        println!(
            "-[{}] +[{}] {line}",
            names(&reading.forbidden),
            names(&reading.requested)
        );
    }
}
