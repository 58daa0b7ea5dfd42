//! Lost bytes that somebody has taken note of: `<dir>/lost`.
//!
//! Where a damaged frame lay that nothing tells the owner of, there is no session to repair. Such bytes are reported for ever,
//! unless somebody says that they are known. Nothing is changed by that: they are still there, and still unreadable; and
//! should they change once more, they are reported again.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::damage::Lost;
use crate::files::{self, RealDisk};

const FILE: &str = "lost";
const HEADING: &str = "longhaul lost 1\n";

/// A stretch of lost bytes: where it begins, how long it is, and what is wrong with it.
type Known = (u64, u64, String);

fn known(lost: &Lost) -> Known {
    (lost.position.0, lost.bytes, lost.reason.replace('\n', " "))
}

/// What was noted in a data directory. A file that is not what was written notes nothing: then all of it is told again.
pub(crate) fn read(folder: &Path) -> io::Result<BTreeSet<Known>> {
    match files::read_small(&RealDisk, &folder.join(FILE)) {
        Ok(bytes) => Ok(parse(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

pub(crate) fn holds(noted: &BTreeSet<Known>, lost: &Lost) -> bool {
    noted.contains(&known(lost))
}

/// Takes note of lost bytes, as `verify` reports them; durable on return. The directory may be in use.
///
/// # Errors
/// When the file cannot be read or written.
pub fn acknowledge_lost(folder: &Path, lost: &[Lost]) -> io::Result<()> {
    let mut noted = read(folder)?;
    noted.extend(lost.iter().map(known));
    files::replace(&RealDisk, folder, FILE, text(&noted).as_bytes())
}

/// A heading, a stretch a line, and the checksum of all that.
fn text(noted: &BTreeSet<Known>) -> String {
    let mut text = HEADING.to_owned();
    for (position, bytes, reason) in noted {
        text += &format!("{position} {bytes} {reason}\n");
    }
    let crc = crc32c::crc32c(text.as_bytes());
    text + &format!("crc {crc:08x}\n")
}

fn parse(bytes: &[u8]) -> Option<BTreeSet<Known>> {
    let written = std::str::from_utf8(bytes).ok()?;
    let lines = written.strip_prefix(HEADING)?.lines();
    let noted = lines
        .filter(|line| !line.starts_with("crc "))
        .map(|line| {
            let (position, rest) = line.split_once(' ')?;
            let (bytes, reason) = rest.split_once(' ')?;
            Some((position.parse().ok()?, bytes.parse().ok()?, reason.to_owned()))
        })
        .collect::<Option<BTreeSet<Known>>>()?;
    (text(&noted) == written).then_some(noted)
}
