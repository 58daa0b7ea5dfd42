//! Breaches of the promises, on purpose: each must turn a named test red, or that test proves nothing.
//!
//! Without the feature `sabotage` this is a constant `false`, and the compiler removes what hangs on it. With it, the
//! environment variable `LONGHAUL_SABOTAGE` names the one promise that is broken. `just sabotage` runs the list, which
//! stands in `tests/bin/sabotage.rs`.

/// Whether this process was told to break the promise of this name.
#[cfg(feature = "sabotage")]
pub(crate) fn is_on(name: &str) -> bool {
    static CHOSEN: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("LONGHAUL_SABOTAGE").ok());
    CHOSEN.as_deref() == Some(name)
}

/// What a process that begins with an empty environment is told all the same.
#[cfg(feature = "sabotage")]
pub(crate) fn passed_on() -> Option<(&'static str, String)> {
    let name = "LONGHAUL_SABOTAGE";
    std::env::var(name).ok().map(|chosen| (name, chosen))
}

/// Nothing, without the feature.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
pub(crate) const fn passed_on() -> Option<(&'static str, String)> {
    None
}

/// Whether this process was told to break the promise of this name: never, without the feature.
#[cfg(not(feature = "sabotage"))]
#[inline(always)]
pub(crate) const fn is_on(_name: &str) -> bool {
    false
}
