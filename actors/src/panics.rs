//! What a caught panic said.

use std::any::Any;

/// What a panic said, if it said anything.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "it said nothing".to_owned()
    }
}
