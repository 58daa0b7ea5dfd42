//! Decides about each line of standard input: `cargo run -p longhaul-policy --example check < lines`.

use longhaul_policy::{Act, Around, Policy};

fn main() {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let decision = Policy::standard().decide(&Act::line(line.replace("\\n", "\n")), &Around::bare());
        let category = decision.category.map_or("-", |category| category.name());
        println!(
            "{:5} {:22} {:22} {line}",
            decision.verdict, category, decision.rule
        );
    }
}
