//! How the ids of streams stand in payloads: as they are shown, `s_...` for a session and `t_...` for a task.
//!
//! To be named in `#[serde(with = "shown::session")]` and the like.

use longhaul_journal::StreamId;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

fn read<'de, D: Deserializer<'de>>(text: &str, letter: char) -> Result<StreamId, D::Error> {
    let digits = text
        .strip_prefix(letter)
        .and_then(|rest| rest.strip_prefix('_'))
        .unwrap_or(text);
    digits.parse().map_err(D::Error::custom)
}

fn one<'de, D: Deserializer<'de>>(from: D, letter: char) -> Result<StreamId, D::Error> {
    read::<D>(&String::deserialize(from)?, letter)
}

fn maybe<'de, D: Deserializer<'de>>(from: D, letter: char) -> Result<Option<StreamId>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| read::<D>(&text, letter)).transpose()
}

/// The id of a session.
pub(crate) mod session {
    use longhaul_journal::StreamId;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &StreamId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("s_{id}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StreamId, D::Error> {
        super::one(from, 's')
    }
}

/// The ids of several sessions.
pub(crate) mod sessions {
    use longhaul_journal::StreamId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(ids: &[StreamId], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(ids.iter().map(|id| format!("s_{id}")))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<StreamId>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| super::read::<D>(text, 's')).collect()
    }
}

/// The id of a session, where there is one.
pub(crate) mod maybe_session {
    use longhaul_journal::StreamId;
    use serde::{Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &Option<StreamId>, to: S) -> Result<S::Ok, S::Error> {
        id.map(|id| format!("s_{id}")).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<StreamId>, D::Error> {
        super::maybe(from, 's')
    }
}

/// The id of a task, where there is one.
pub(crate) mod maybe_task {
    use longhaul_journal::StreamId;
    use serde::{Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(id: &Option<StreamId>, to: S) -> Result<S::Ok, S::Error> {
        id.map(|id| format!("t_{id}")).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<StreamId>, D::Error> {
        super::maybe(from, 't')
    }
}
