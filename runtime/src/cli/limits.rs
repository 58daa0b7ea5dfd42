//! The options that say what commands may use, and who is to hold them to it.

use clap::{Args, ValueEnum};
use longhaul_actors::session::ResourcesWish;

use super::args::WallArgs;
use crate::limiting::{LimitOptions, LimitsMode};

/// What each command of a session may use, with all that it starts.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Limits of each command (0 is no limit)")]
pub(super) struct ResourceArgs {
    /// Memory [default: 4G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Processes and threads [default: 2048]
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    /// Processors, also parts of one [default: 0]
    #[arg(long, value_name = "N", value_parser = processors)]
    cpus: Option<u32>,
    /// What the workspace may grow to; not in place [default: 10G]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    disk: Option<u64>,
    /// Files and folders in the workspace; not in place [default: 1000000]
    #[arg(long, value_name = "N")]
    files: Option<u64>,
}

impl ResourceArgs {
    /// What was asked for.
    pub(super) fn wish(self) -> ResourcesWish {
        ResourcesWish {
            memory_bytes: self.memory,
            pids: self.pids,
            cpu_milli: self.cpus,
            disk_bytes: self.disk,
            disk_files: self.files,
            ..ResourcesWish::default()
        }
    }
}

/// Who holds commands to their limits, where this process runs them.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Limits of each command (0 is no limit)")]
pub(super) struct LimitingArgs {
    /// Who holds commands to their limits
    #[arg(
        long,
        value_enum,
        value_name = "BY",
        default_value_t,
        env = "LONGHAUL_LIMITS",
        hide_env = true
    )]
    limits: LimitsArg,
    /// Room that commands leave free on the disk [default: 256M]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    disk_reserve: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LimitsArg {
    /// Control groups where they can be made, else each process by itself
    #[default]
    Auto,
    /// Each process by itself; nobody bounds the sum
    Rlimit,
    /// Control groups, or nothing runs
    Cgroup,
}

impl LimitingArgs {
    /// How a runtime that is opened with these words holds commands to their limits.
    pub(super) fn options(self, walls: &WallArgs) -> LimitOptions {
        let mut options = LimitOptions::default();
        options.mode = match self.limits {
            _ if walls.requires_cgroup() => LimitsMode::Cgroup,
            LimitsArg::Auto => LimitsMode::Auto,
            LimitsArg::Rlimit => LimitsMode::Rlimit,
            LimitsArg::Cgroup => LimitsMode::Cgroup,
        };
        options.disk_reserve = self.disk_reserve.unwrap_or(options.disk_reserve);
        options
    }
}

/// `512M`, `2G`, `1048576`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write 1048576, 512K, 512M or 2G");
    let (digits, shift) = match text.chars().last().map(|unit| unit.to_ascii_uppercase()) {
        Some('K') => (&text[..text.len() - 1], 10),
        Some('M') => (&text[..text.len() - 1], 20),
        Some('G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// `2`, `1.5`, `0.25`: thousandths of a processor.
fn processors(text: &str) -> Result<u32, String> {
    let wrong = || format!("{text:?} is no number of processors; write 2, 1.5 or 0.25");
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return Err(wrong());
    }
    let thousandths = format!("{part:0<3}").parse::<u32>().map_err(|_| wrong())?;
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    whole
        .checked_mul(1_000)
        .and_then(|whole| whole.checked_add(thousandths))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_powers_of_1024_and_nonsense_is_refused() {
        assert_eq!(size("512M"), Ok(512 << 20));
        assert_eq!(size("2g"), Ok(2 << 30));
        assert_eq!((size("0"), size("7K")), (Ok(0), Ok(7 << 10)));
        for text in ["", "G", "-1", "1.5G", "2T", "99999999999G", "2 G", "2é"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_may_be_parts_of_one() {
        assert_eq!(processors("2"), Ok(2_000));
        assert_eq!(processors("1.5"), Ok(1_500));
        assert_eq!(processors("0.25"), Ok(250));
        assert_eq!(processors("0"), Ok(0));
        for text in ["", ".", "1.", ".5", "-1", "1.2345", "one", "4294968"] {
            assert!(processors(text).is_err(), "{text}");
        }
    }
}
