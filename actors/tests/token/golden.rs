//! Stored records that must be readable for ever.

#[path = "../golden/lines.rs"]
mod lines;

use longhaul_actors::token::{Body, Tokens};

/// B-LOG-8
#[test]
fn every_record_ever_stored_is_read_and_nothing_in_it_is_lost() {
    lines::each_is_read_whole::<Tokens>(include_str!("../golden/token.jsonl"), Body::TYPES);
}
