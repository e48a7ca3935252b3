//! Finds a number in an ascending list: the index beside the apps of a file.
//!
//! Numbers are dense with holes where apps were deleted. The span from first to last is cut into
//! equal buckets, some four numbers each, and for each the place of its first number is kept: one
//! look at the index, then a few neighbors in the list. Costs about a byte an app, and never more
//! than [`u32`] per four apps however sparse the numbers are: a hostile list only makes its own
//! searches logarithmic.

use std::ops::Range;

/// An index over an ascending list of numbers that lives elsewhere.
#[derive(Debug, Default)]
pub struct NumberIndex {
    first: u32,
    shift: u32,
    /// Place of the first number of each bucket, and the length of the list at the end.
    starts: Box<[u32]>,
}

impl NumberIndex {
    /// Indexes strictly ascending numbers.
    pub fn build(numbers: impl ExactSizeIterator<Item = u32> + Clone) -> Self {
        let count = u32::try_from(numbers.len()).expect("ascending u32s are at most u32::MAX");
        let (Some(first), Some(last)) = (numbers.clone().next(), numbers.clone().last()) else {
            return Self::default();
        };
        let span = u64::from(last - first);
        let buckets_max = u64::from(count / 4).max(1);
        let mut shift = 0;
        while span >> shift >= buckets_max {
            shift += 1;
        }
        let buckets = usize::try_from(span >> shift).expect("below the count") + 1;
        let mut starts = Vec::with_capacity(buckets + 1);
        for (place, number) in (0..).zip(numbers) {
            let bucket = u64::from(number - first) >> shift;
            let bucket = usize::try_from(bucket).expect("below the count");
            while starts.len() <= bucket {
                starts.push(place);
            }
        }
        starts.push(count);
        Self {
            first,
            shift,
            starts: starts.into(),
        }
    }

    /// The place of `number`; `at` answers the number at a place of the list.
    pub fn place(&self, number: u32, at: impl Fn(usize) -> u32) -> Option<usize> {
        let Range { mut start, mut end } = self.bucket(number)?;
        while start < end {
            let middle = start.midpoint(end);
            match at(middle).cmp(&number) {
                std::cmp::Ordering::Less => start = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => end = middle,
            }
        }
        None
    }

    /// Bytes it takes.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.starts)
    }

    fn bucket(&self, number: u32) -> Option<Range<usize>> {
        let bucket = u64::from(number.checked_sub(self.first)?) >> self.shift;
        let bucket = usize::try_from(bucket).ok()?;
        let start = *self.starts.get(bucket)?;
        let end = *self.starts.get(bucket + 1)?;
        Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn places(numbers: &[u32]) -> NumberIndex {
        NumberIndex::build(numbers.iter().copied())
    }

    proptest! {
        #[test]
        fn it_finds_what_is_there_and_nothing_else(
            numbers in proptest::collection::btree_set(
                prop_oneof![0..200_u32, any::<u32>(), u32::MAX - 50..=u32::MAX], 0..300),
            others in proptest::collection::vec(prop_oneof![0..200_u32, any::<u32>()], 100),
        ) {
            let list: Vec<u32> = numbers.iter().copied().collect();
            let index = places(&list);
            for asked in others.iter().chain(&numbers) {
                let found = index.place(*asked, |at| list[at]);
                prop_assert_eq!(found, list.binary_search(asked).ok());
            }
            prop_assert!(index.memory_bytes() <= 4 * (list.len() / 4 + 2));
        }
    }

    #[test]
    fn a_sparse_list_takes_no_more_memory_than_a_dense_one() {
        let sparse: BTreeSet<u32> = (0..1_000).map(|n| n * 4_000_000).collect();
        let sparse: Vec<u32> = sparse.into_iter().collect();
        assert!(places(&sparse).memory_bytes() <= 1_008);
        assert_eq!(places(&sparse).place(4_000_000, |at| sparse[at]), Some(1));
    }
}
