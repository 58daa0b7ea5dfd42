//! The map does what a sorted map in memory does, however its entries are spread over pages.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn map(folder: &Path) -> Packed {
    let map = Packed::open(folder, 1 << 20).unwrap();
    if map.meta().unwrap().is_none() {
        map.begin().unwrap();
        map.put_meta(Vec::new()).unwrap();
    }
    map
}

fn all(map: &Packed) -> Model {
    entries(map, Bound::Included(&[]), Bound::Unbounded)
}

fn entries(map: &Packed, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Model {
    let mut found = Model::new();
    map.each(from, to, |key, value| {
        let twice = found.insert(key.to_vec(), value.to_vec());
        assert_eq!(twice, None, "no key is shown twice");
        Ok(true)
    })
    .unwrap();
    found
}

/// First and last key of every page, with the bytes it takes.
fn pages(map: &Packed) -> Vec<(Vec<u8>, Option<Vec<u8>>, usize)> {
    let pages = map.db.scan_prefix([PAGE]).map(|page| {
        let (key, value) = page.unwrap();
        let page = checked(&key, &value).unwrap();
        let (upper, _) = page::open(page).unwrap();
        (key[1..].to_vec(), upper.map(<[u8]>::to_vec), page.len())
    });
    pages.collect()
}

/// What pages hold on average.
fn bytes_per_page(map: &Packed) -> usize {
    let pages = pages(map);
    pages.iter().map(|page| page.2).sum::<usize>() / pages.len()
}

fn divide_all_keys(map: &Packed) {
    let pages = pages(map);
    assert!(pages[0].0.is_empty(), "the first page begins below every key");
    for pair in pages.windows(2) {
        assert_eq!(pair[0].1.as_ref(), Some(&pair[1].0), "no gap and no overlap");
    }
    assert_eq!(pages.last().unwrap().1, None, "the last page has no end");
}

fn work_in(model: &mut Model, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(model.insert(key.clone(), value.clone())),
            None => drop(model.remove(key)),
        }
    }
}

/// Few first letters and a long middle that all share, so that keys meet, and share much or nothing.
fn some_key() -> impl Strategy<Value = Vec<u8>> {
    (0..4u8, 0..600u16, any::<bool>()).prop_map(|(first, number, is_long)| {
        let number = number.to_be_bytes();
        if is_long {
            [&[first][..], &[7; 16], &number].concat()
        } else {
            [&[first][..], &number].concat()
        }
    })
}

fn some_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => vec(any::<u8>(), 0..4),
        3 => vec(any::<u8>(), 40..120),
        1 => vec(any::<u8>(), PAGE_BYTES - 100..PAGE_BYTES * 3),
    ]
}

fn some_changes() -> impl Strategy<Value = Changes> {
    prop_oneof![
        4 => btree_map(some_key(), option::weighted(0.7, some_value()), 1..80),
        1 => btree_map(some_key(), Just(None), 100..400),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn it_is_a_sorted_map(batches in vec(some_changes(), 1..12), asked in vec((some_key(), some_key()), 20)) {
        let folder = tempfile::tempdir().unwrap();
        let mut map = map(folder.path());
        let mut model = Model::new();
        for (number, changes) in batches.iter().enumerate() {
            map.apply(changes).unwrap();
            // Twice changes nothing.
            map.apply(changes).unwrap();
            work_in(&mut model, changes);
            divide_all_keys(&map);
            prop_assert_eq!(&all(&map), &model);
            if number == batches.len() / 2 {
                map.close().unwrap();
                map = super::tests::map(folder.path());
            }
        }
        for (one, other) in &asked {
            let (from, to) = (one.min(other), one.max(other));
            prop_assert_eq!(map.get(from).unwrap(), model.get(from).cloned());
            let inside = |range: (Bound<&Vec<u8>>, Bound<&Vec<u8>>)| -> Model {
                model.range::<Vec<u8>, _>(range).map(|(key, value)| (key.clone(), value.clone())).collect()
            };
            prop_assert_eq!(
                entries(&map, Bound::Included(from), Bound::Included(to)),
                inside((Bound::Included(from), Bound::Included(to)))
            );
            if from != to {
                prop_assert_eq!(
                    entries(&map, Bound::Excluded(from), Bound::Excluded(to)),
                    inside((Bound::Excluded(from), Bound::Excluded(to)))
                );
            }
            let last = model.range::<Vec<u8>, _>(from..=to).next_back().map(|(key, _)| key.clone());
            prop_assert_eq!(map.last_key(from, to).unwrap(), last);
        }
    }
}

fn numbered(numbers: impl Iterator<Item = u32>, value: Option<&[u8]>) -> Changes {
    numbers
        .map(|number| {
            let key = [b"s", &number.to_be_bytes()[..]].concat();
            (key, value.map(<[u8]>::to_vec))
        })
        .collect()
}

#[test]
fn what_comes_in_order_fills_its_pages() {
    let folder = tempfile::tempdir().unwrap();
    let map = map(folder.path());
    for begin in (0..20_000).step_by(100) {
        map.apply(&numbered(begin..begin + 100, Some(&[1; 60]))).unwrap();
    }
    divide_all_keys(&map);
    let bytes = bytes_per_page(&map);
    assert!(bytes > PAGE_BYTES * 9 / 10, "{bytes} bytes in a page");
}

#[test]
fn what_comes_in_any_order_leaves_pages_more_than_half_full() {
    let folder = tempfile::tempdir().unwrap();
    let map = map(folder.path());
    for begin in 0..200 {
        map.apply(&numbered((begin..20_000).step_by(200), Some(&[1; 60])))
            .unwrap();
    }
    divide_all_keys(&map);
    let bytes = bytes_per_page(&map);
    assert!(bytes > PAGE_BYTES / 2, "{bytes} bytes in a page");
}

/// Streams that wait for a time leave the front of their range, and come again at its end.
#[test]
fn pages_that_are_emptied_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let map = map(folder.path());
    for begin in (0..10_000).step_by(100) {
        let mut changes = numbered(begin..begin + 100, Some(&[1; 60]));
        if let Some(stale) = begin.checked_sub(500) {
            changes.extend(numbered(stale..stale + 100, None));
        }
        map.apply(&changes).unwrap();
    }
    divide_all_keys(&map);
    assert_eq!(all(&map).len(), 500);
    let pages = pages(&map).len();
    assert!(pages < 100, "{pages} pages where 1,400 were filled");
}

/// Lost pages are the one damage that no checksum tells of.
#[test]
fn a_page_that_is_missing_is_noticed_by_whoever_asks_for_what_it_held() {
    let folder = tempfile::tempdir().unwrap();
    let map = map(folder.path());
    map.apply(&numbered(0..1_000, Some(&[1; 60]))).unwrap();
    let third = pages(&map)[2].0.clone();
    map.db.remove(page_key(&third)).unwrap();
    assert!(matches!(map.get(&third), Err(Broken::Flawed(_))));
    let shown = map.each(Bound::Included(&[]), Bound::Unbounded, |_, _| Ok(true));
    assert!(matches!(shown, Err(Broken::Flawed(_))));
    assert!(matches!(
        map.apply(&Changes::from([(third, None)])),
        Err(Broken::Flawed(_))
    ));
    assert!(
        map.get(&pages(&map)[1].0).unwrap().is_some(),
        "what is beside it is found"
    );
}

#[test]
fn a_page_that_reaches_into_the_next_one_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let map = map(folder.path());
    map.apply(&numbered(0..1_000, Some(&[1; 60]))).unwrap();
    let (first, second) = (pages(&map)[1].0.clone(), pages(&map)[2].0.clone());
    // As it was before it was split.
    let (_, entries) = page::open(&[0, 0]).unwrap();
    let beyond = [second.as_slice(), &[0]].concat();
    let value = Change::from((first.as_slice(), Some(&[1][..])));
    let (run, _) = Run::changed(entries, &[value]).unwrap();
    let (_, page) = run.pages(&first, Some(&beyond), true).remove(0);
    let key = page_key(&first);
    map.db.insert(&key, summed(&key, page)).unwrap();
    let refused = map.apply(&Changes::from([(first, None)]));
    assert!(matches!(refused, Err(Broken::Flawed(_))), "{refused:?}");
}

#[test]
fn a_flipped_bit_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let map = map(folder.path());
    map.apply(&numbered(0..10, Some(&[1; 60]))).unwrap();
    let mut value = map.db.get([PAGE]).unwrap().unwrap().to_vec();
    value[20] ^= 4;
    map.db.insert([PAGE], value).unwrap();
    assert!(matches!(map.get(b"s"), Err(Broken::Flawed(_))));
}
