//! The digest of an act: what an approval is bound to.

use serde_json::Value;

use crate::act::{Act, What};
use crate::decision::Script;

/// A digest over everything that makes the act what it is: tool, arguments, folder, environment, standard input, and the
/// scripts it would run (B-GATE-2). Two acts with the same digest are the same act.
///
/// BLAKE3 over a canonical form: each part with a tag and its length before it, keys of objects sorted. It begins with
/// a version, so that another form later cannot give the digest of this one.
pub fn digest(act: &Act, scripts: &[Script]) -> String {
    let mut form = Form(blake3::Hasher::new());
    form.part(b"form", b"longhaul-act-1");
    form.part(b"tool", act.tool.as_bytes());
    match &act.what {
        What::Argv(words) => {
            form.count(b"argv", words.len());
            for word in words {
                form.part(b"word", word.as_bytes());
            }
        }
        What::Line(line) => form.part(b"line", line.as_bytes()),
        What::Call(arguments) => form.value(arguments),
    }
    form.part(b"cwd", act.cwd.as_bytes());
    form.count(b"env", act.env.len());
    for (name, value) in &act.env {
        form.part(b"name", name.as_bytes());
        form.part(b"is", value.as_bytes());
    }
    form.part(b"stdin", &act.stdin);
    let mut scripts: Vec<&Script> = scripts.iter().collect();
    scripts.sort();
    scripts.dedup();
    form.count(b"scripts", scripts.len());
    for script in scripts {
        form.part(b"path", script.path.as_bytes());
        match &script.sha256 {
            Some(hash) => form.part(b"sha256", hash.as_bytes()),
            None => form.part(b"absent", b""),
        }
    }
    form.0.finalize().to_hex().to_string()
}

struct Form(blake3::Hasher);

impl Form {
    fn part(&mut self, tag: &[u8], bytes: &[u8]) {
        self.count(tag, bytes.len());
        self.0.update(bytes);
    }

    fn count(&mut self, tag: &[u8], count: usize) {
        self.0.update(&[u8::try_from(tag.len()).unwrap_or(u8::MAX)]);
        self.0.update(tag);
        self.0.update(&(count as u64).to_le_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.part(b"null", b""),
            Value::Bool(is) => self.part(b"bool", &[u8::from(*is)]),
            Value::Number(number) => self.part(b"number", number.to_string().as_bytes()),
            Value::String(text) => self.part(b"text", text.as_bytes()),
            Value::Array(items) => {
                self.count(b"array", items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Object(members) => {
                self.count(b"object", members.len());
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by_key(|(key, _)| *key);
                for (key, value) in members {
                    self.part(b"key", key.as_bytes());
                    self.value(value);
                }
            }
        }
    }
}
