#![expect(
    unsafe_code,
    reason = "memory that processes share is mapped; seals and atomics make it sound"
)]
//! Memory that several processes of a node count in: a memory file, mapped part by part.
//!
//! One process makes it and passes its descriptor on when another takes over; both then see the
//! same words. Its length is sealed, so that nobody can cut it short under a mapping (which would
//! be a SIGBUS). Pages exist from their first use. The only unsafe leaf of [`limit`](super).

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::slice;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Two words that belong together.
pub(super) type Pair = [AtomicU64; 2];

const PAIR_BYTES: u64 = size_of::<Pair>() as u64;

/// Memory of a fixed number of [`Pair`]s, all zero at first.
#[derive(Debug)]
pub(super) struct Memory {
    file: File,
    pairs: u64,
}

/// Some of them, mapped.
#[derive(Debug)]
pub(super) struct Part {
    map: MmapRaw,
    pairs: usize,
}

impl Memory {
    /// New memory.
    pub(super) fn create(pairs: u64) -> io::Result<Self> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create("keyway-limits", flags)?);
        file.set_len(bytes(pairs)?)?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
        Self::adopt(file.into(), pairs)
    }

    /// Memory that another process made; refused unless it has this length for good.
    pub(super) fn adopt(file: OwnedFd, pairs: u64) -> io::Result<Self> {
        let file = File::from(file);
        let held = SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS)?);
        if !held.contains(seals()) || file.metadata()?.len() != bytes(pairs)? {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Self { file, pairs })
    }

    /// What another process adopts.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Maps `count` pairs from the one numbered `first`, which must begin a page.
    pub(super) fn map(&self, first: u64, count: usize) -> io::Result<Part> {
        let length = u64::try_from(count).map_err(io::Error::other)?;
        let end = first.checked_add(length);
        if count == 0 || end.is_none_or(|end| end > self.pairs) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let map = MmapOptions::new()
            .offset(bytes(first)?)
            .len(count.saturating_mul(size_of::<Pair>()))
            .map_raw(&self.file)?;
        Ok(Part { map, pairs: count })
    }
}

impl Deref for Part {
    type Target = [Pair];

    fn deref(&self) -> &[Pair] {
        let first = self.map.as_ptr().cast::<Pair>();
        // SAFETY: the mapping is as long as `pairs` of them (`Memory::map` asked for just that),
        // begins at a page, and lives as long as `self`, which the slice borrows. The file cannot
        // shrink under it: `Memory::adopt` saw the seal. Every pattern of bits is a `Pair`; whoever
        // else has it mapped is a process that runs this code, so all accesses are atomic ones.
        // `tests` would show a wrong length or place.
        unsafe { slice::from_raw_parts(first, self.pairs) }
    }
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL
}

fn bytes(pairs: u64) -> io::Result<u64> {
    let bytes = pairs.checked_mul(PAIR_BYTES);
    bytes.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    /// Pairs in a page.
    const PAGE: u64 = 256;

    #[test]
    fn who_adopts_it_sees_what_the_maker_wrote_at_the_same_place() {
        let memory = Memory::create(4 * PAGE).unwrap();
        let adopted = Memory::adopt(memory.file().try_clone_to_owned().unwrap(), 4 * PAGE);
        let adopted = adopted.unwrap();
        let whole = memory.map(0, 1_024).unwrap();
        let second = adopted.map(PAGE, 256).unwrap();
        assert_eq!((whole.len(), second.len()), (1_024, 256));
        whole[511][1].store(7, Relaxed);
        assert_eq!(second[255][1].load(Relaxed), 7);
        second[0][0].store(9, Relaxed);
        assert_eq!(whole[256][0].load(Relaxed), 9);
        assert!(
            whole[..256]
                .iter()
                .flatten()
                .all(|word| word.load(Relaxed) == 0)
        );
    }

    #[test]
    fn a_file_that_could_be_cut_short_or_has_another_length_is_refused() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let unsealed = File::from(memfd_create("unsealed", flags).unwrap());
        unsealed.set_len(PAGE * PAIR_BYTES).unwrap();
        assert!(Memory::adopt(unsealed.into(), PAGE).is_err());
        let sealed = Memory::create(PAGE).unwrap();
        assert!(sealed.file.set_len(1).is_err());
        let file = sealed.file().try_clone_to_owned().unwrap();
        assert!(Memory::adopt(file, 2 * PAGE).is_err());
    }

    #[test]
    fn no_part_reaches_beyond_the_end() {
        let memory = Memory::create(PAGE).unwrap();
        assert!(memory.map(0, 257).is_err());
        assert!(memory.map(u64::MAX, 1).is_err());
        assert!(memory.map(0, 0).is_err());
    }
}
