//! What an answer of a brain may hold, so that its frame can be written and its records read back.

use serde::Serialize;
use serde_json::Value;

use super::event::Answer;
use crate::ports::BrainFailure;

/// Most calls in one answer. Those that do not fit are told in one frame, which holds 4,096 records and 1 MiB.
pub const CALLS_AT_ONCE: usize = 64;
/// Longest name of a tool in a call, bytes.
pub const TOOL_NAME_LIMIT: usize = 128;
/// Most bytes that the words of one answer, and those at its end, may each take as JSON.
pub const ANSWER_TEXT_LIMIT: usize = 64 * 1024;
/// Most bytes that the calls of one answer may take as JSON.
pub const CALLS_LIMIT: usize = 256 * 1024;
/// How deep the arguments of a call may nest. The parser that reads records back stops at 128, with the record around.
pub const DEPTH_LIMIT: usize = 64;

/// Passes an answer that keeps to the bounds; any other is rubbish.
pub(super) fn check_answer(answer: &Answer) -> Result<(), BrainFailure> {
    let Answer { say, calls, end, .. } = answer;
    let too_much = |what: &str, found: usize, limit: usize| {
        let rubbish = format!("{what}: {found}, at most {limit}");
        Err(BrainFailure::Rubbish(rubbish))
    };
    if calls.len() > CALLS_AT_ONCE {
        return too_much("calls in one answer", calls.len(), CALLS_AT_ONCE);
    }
    let longest_name = calls.iter().map(|call| call.tool.len()).max().unwrap_or(0);
    if longest_name > TOOL_NAME_LIMIT {
        return too_much("bytes in the name of a tool", longest_name, TOOL_NAME_LIMIT);
    }
    if calls.iter().any(|call| is_deeper_than(&call.args, DEPTH_LIMIT)) {
        let rubbish = format!("the arguments of a call nest deeper than {DEPTH_LIMIT}");
        return Err(BrainFailure::Rubbish(rubbish));
    }
    for (what, found, limit) in [
        ("bytes of calls", stored_bytes(calls), CALLS_LIMIT),
        ("bytes of words", stored_bytes(say), ANSWER_TEXT_LIMIT),
        ("bytes of words at the end", stored_bytes(end), ANSWER_TEXT_LIMIT),
    ] {
        if found > limit {
            return too_much(what, found, limit);
        }
    }
    Ok(())
}

/// What it takes as JSON, where a control character takes six bytes.
fn stored_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |stored| stored.len())
}

fn is_deeper_than(value: &Value, depth: usize) -> bool {
    let inner = |value: &Value| is_deeper_than(value, depth - 1);
    match value {
        Value::Array(values) => depth == 0 || values.iter().any(inner),
        Value::Object(fields) => depth == 0 || fields.values().any(inner),
        _ => false,
    }
}
