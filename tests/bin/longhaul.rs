//! The product's own binary, built inside this package so that tests can find and kill it.

fn main() {
    longhaul::intercept();
}
