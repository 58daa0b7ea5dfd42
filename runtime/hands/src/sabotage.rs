//! Breaches of the promises, on purpose: each must turn a named test red, or that test proves nothing.
//!
//! Without the feature `sabotage` this is a constant `false`, and the compiler removes what hangs on it. With it, the
//! environment variable `LONGHAUL_SABOTAGE` names the one promise that is broken. `just sabotage` runs the list, which
//! stands in `tests/bin/sabotage.rs`.

/// Where the name of the promise stands.
pub(crate) const VARIABLE: &str = "LONGHAUL_SABOTAGE";

/// The promise that this process was told to break: its shims are told too, which inherit nothing else.
#[cfg(feature = "sabotage")]
pub(crate) fn chosen() -> Option<&'static str> {
    static CHOSEN: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var(VARIABLE).ok());
    CHOSEN.as_deref()
}

/// The promise that this process was told to break: none, without the feature.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn chosen() -> Option<&'static str> {
    None
}

/// Whether this process was told to break the promise of this name.
#[cfg(feature = "sabotage")]
pub(crate) fn is_on(name: &str) -> bool {
    chosen() == Some(name)
}

/// Whether this process was told to break the promise of this name: never, without the feature.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
pub(crate) const fn is_on(_name: &str) -> bool {
    false
}
