//! How the facts of an entity of ours are stored: a table of types, and payloads of `{"actor": .., "turn": .., "data": ..}`.

use serde::{Deserialize, Serialize};

use crate::session::Actor;

/// What stands in a record, on its way to the disk.
#[derive(Serialize)]
pub(crate) struct Payload<'a, D> {
    pub(crate) actor: &'a Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turn: Option<u32>,
    pub(crate) data: &'a D,
}

/// What stood in a record.
#[derive(Deserialize)]
pub(crate) struct OwnedPayload<D> {
    pub(crate) actor: Actor,
    #[serde(default)]
    pub(crate) turn: Option<u32>,
    pub(crate) data: D,
}

/// The table of all facts of an entity: type on the wire, version, level, shape. It makes `Body`, one variant a line, which
/// becomes a record with who acted and comes back from one.
macro_rules! facts {
    ($($type_name:literal $version:literal $level:ident $name:ident),+ $(,)?) => {
        /// What happened, by type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Body {
            $(#[doc = concat!("`", $type_name, "`")] $name($name),)+
        }

        impl Body {
            /// Every record type, in the order of the table.
            pub const TYPES: &'static [&'static str] = &[$($type_name),+];

            /// Its dotted name on the wire.
            pub const fn type_name(&self) -> &'static str {
                match self { $(Self::$name(_) => $type_name,)+ }
            }

            /// Who it is meant for.
            pub const fn level(&self) -> longhaul_journal::Level {
                match self { $(Self::$name(_) => longhaul_journal::Level::$level,)+ }
            }

            const fn type_version(&self) -> u16 {
                match self { $(Self::$name(_) => $version,)+ }
            }

            /// Its stored form.
            fn encode(
                &self,
                actor: &crate::session::Actor,
                turn: Option<u32>,
                cause: Option<longhaul_journal::Seq>,
            ) -> longhaul_journal::NewRecord {
                let payload = match self {
                    $(Self::$name(data) => serde_json::to_vec(&crate::facts::Payload { actor, turn, data }),)+
                };
                longhaul_journal::NewRecord {
                    type_name: self.type_name().into(),
                    type_version: self.type_version(),
                    cause,
                    level: self.level(),
                    payload: payload.expect("plain structs with text keys always serialize"),
                }
            }

            /// A fact from its stored form, with who acted and the turn it belongs to.
            fn decode(
                record: &longhaul_journal::Record,
            ) -> Result<crate::facts::OwnedPayload<Self>, crate::entity::DecodeError> {
                use crate::entity::DecodeError;
                let stored = &record.event;
                match (&*stored.type_name, stored.type_version) {
                    $(($type_name, $version) => {
                        let payload: crate::facts::OwnedPayload<$name> =
                            serde_json::from_slice(&stored.payload).map_err(|error| DecodeError::Payload {
                                type_name: $type_name.into(),
                                reason: error.to_string(),
                            })?;
                        Ok(crate::facts::OwnedPayload {
                            actor: payload.actor,
                            turn: payload.turn,
                            data: payload.data.into(),
                        })
                    })+
                    (type_name, type_version) => {
                        Err(DecodeError::UnknownType { type_name: type_name.into(), type_version })
                    }
                }
            }
        }

        $(impl From<$name> for Body {
            fn from(data: $name) -> Self { Self::$name(data) }
        })+
    };
}

pub(crate) use facts;
