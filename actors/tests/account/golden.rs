//! Stored records that must be readable for ever.

#[path = "../golden/lines.rs"]
mod lines;

use longhaul_actors::account::{Account, Body};

/// B-LOG-8
#[test]
fn every_record_ever_stored_is_read_and_nothing_in_it_is_lost() {
    lines::each_is_read_whole::<Account>(include_str!("../golden/account.jsonl"), Body::TYPES);
}
