//! Which user of this machine a session is, when the runtime is root: one that nobody else is, the same every time.

/// First of the users that sessions are: above what people, packages, containers and their managers are given by habit,
/// and below half of the numbers, beyond which some tools see negative ones.
const FIRST: u32 = 0x7000_0000;
/// How many there are.
const COUNT: u32 = 0x0ff0_0000;
/// Where only part of the numbers exists (a container), sessions take the upper part of what there is from here on.
const LEAST: u32 = 10_000;

/// The user that the session of this name is, on a machine whose `/proc/self/uid_map` reads so.
///
/// None where there is no user to spare: in a namespace that knows one user only, the runtime's own must do.
#[must_use]
pub fn session_uid(session: &str, uid_map: &str) -> Option<u32> {
    let number = name_hash(session);
    let ranges = uid_map.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) = (fields.next(), fields.next(), fields.next())
        else {
            return None;
        };
        Some((u64::from(first), u64::from(first) + u64::from(count)))
    });
    let ranges: Vec<(u64, u64)> = ranges.collect();
    let preferred = (u64::from(FIRST), u64::from(FIRST + COUNT));
    let within = |(first, end): (u64, u64)| {
        ranges
            .iter()
            .map(|&(low, high)| (first.max(low), end.min(high)))
            .max_by_key(|(low, high)| high.saturating_sub(*low))
    };
    let roomy = |&(low, high): &(u64, u64)| high.saturating_sub(low) >= 1_000;
    let (low, high) = within(preferred)
        .filter(roomy)
        .or_else(|| within((u64::from(LEAST), 65_534)).filter(roomy))?;
    u32::try_from(low + number % (high - low)).ok()
}

/// FNV-1a: must stay what it is, since files on disk belong to what it gave.
fn name_hash(name: &str) -> u64 {
    let folded = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    folded ^ (folded >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "         0          0 4294967295\n";

    #[test]
    fn a_session_is_the_same_user_for_ever() {
        assert_eq!(session_uid("0199-a", ALL), session_uid("0199-a", ALL));
        assert_eq!(session_uid("s1", ALL), Some(1_983_917_646));
        assert_ne!(session_uid("0199-a", ALL), session_uid("0199-b", ALL));
    }

    #[test]
    fn it_is_never_a_user_that_somebody_else_is() {
        for n in 0..10_000 {
            let uid = session_uid(&format!("session-{n}"), ALL).unwrap();
            assert!((FIRST..FIRST + COUNT).contains(&uid), "{uid:#x}");
        }
    }

    #[test]
    fn in_a_container_with_few_users_it_is_one_of_those() {
        let uid = session_uid("s", "0 100000 65536\n").unwrap();
        assert!((LEAST..65_534).contains(&uid), "{uid}");
    }

    #[test]
    fn where_there_is_one_user_only_there_is_none_to_spare() {
        assert_eq!(session_uid("s", "0 1000 1\n"), None);
        assert_eq!(session_uid("s", ""), None);
    }
}
