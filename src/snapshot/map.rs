#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe; sealing it first makes it sound"
)]
//! Bytes in memory that nobody can change any more: a copy of a file in a sealed memfd, mapped.
//!
//! A mapping of the file itself would die of SIGBUS when someone truncates it, and would change
//! under its readers when someone writes to it. The copy belongs to this process alone, and the
//! seals `SHRINK | GROW | WRITE | SEAL` hold for this process too. The only unsafe leaf of
//! [`snapshot`](super).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use memmap2::{Mmap, MmapOptions};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// An immutable mapping.
pub(super) struct SealedMap {
    map: Mmap,
}

/// Why no sealed copy was made.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The source ended early or went on: somebody changes it, or it is not what was announced.
    #[error("has {found} bytes instead of {expected}")]
    Length {
        /// Bytes found; one too many stands for any number.
        found: u64,
        /// Bytes announced.
        expected: u64,
    },
    /// The source cannot be read, or memory for the copy is short.
    #[error("cannot be copied into memory: {0}")]
    Copy(io::Error),
    /// The kernel refuses a memfd, its seals or its mapping.
    #[error("a sealed memory file cannot be made: {0}")]
    Seal(io::Error),
}

impl SealedMap {
    /// Copies exactly `bytes` bytes, at least 1, from `source`.
    pub fn copy_of(source: impl Read, bytes: u64) -> Result<Self, MapError> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let memory =
            memfd_create("keyway-snapshot", flags).map_err(|e| MapError::Seal(e.into()))?;
        let mut memory = File::from(memory);
        let found = io::copy(&mut source.take(bytes.saturating_add(1)), &mut memory)
            .map_err(MapError::Copy)?;
        if found != bytes || bytes == 0 {
            return Err(MapError::Length {
                found,
                expected: bytes,
            });
        }
        let map = seal(&memory)?;
        Ok(Self { map })
    }

    /// The bytes; they start at a page.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

impl std::fmt::Debug for SealedMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedMap({} bytes)", self.map.len())
    }
}

/// Seals a memory file against every change and maps it.
fn seal(memory: &File) -> Result<Mmap, MapError> {
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    let failed = |cause: nix::Error| MapError::Seal(cause.into());
    fcntl(memory.as_fd(), FcntlArg::F_ADD_SEALS(seals)).map_err(failed)?;
    let held = fcntl(memory.as_fd(), FcntlArg::F_GET_SEALS).map_err(failed)?;
    if !SealFlag::from_bits_retain(held).contains(seals) {
        return Err(MapError::Seal(io::ErrorKind::PermissionDenied.into()));
    }
    // Private, because kernels before 6.7 refuse a shared mapping of a write-sealed file even for
    // reading. Nothing is ever written, so no page is ever copied.
    //
    // SAFETY: the mapped bytes must not change while `Mmap` lends them out as `&[u8]`, and the file
    // must not shrink. `memory` is a memfd made by our caller, and the check above saw that the
    // kernel holds F_SEAL_WRITE and F_SEAL_SHRINK on it for good (F_SEAL_SEAL): no descriptor and
    // no mapping, in this process or another, can write or truncate it. The test
    // `a_sealed_file_cannot_be_changed_by_anyone` would catch a breach.
    unsafe { MmapOptions::new().map_copy_read_only(memory) }.map_err(MapError::Seal)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn the_map_holds_what_was_copied() {
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let map = SealedMap::copy_of(bytes.as_slice(), 400_000).expect("mapped");
        assert!(map.bytes() == bytes);
        assert_eq!(map.bytes().as_ptr().addr() % 4096, 0);
    }

    #[test]
    fn a_source_of_another_length_than_announced_is_refused() {
        for announced in [0, 1, 9, 11, u64::MAX] {
            let error = SealedMap::copy_of([7; 10].as_slice(), announced).expect_err("refused");
            let MapError::Length { expected, .. } = error else {
                panic!("{error}")
            };
            assert_eq!(expected, announced);
        }
    }

    #[test]
    fn a_sealed_file_cannot_be_changed_by_anyone() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let mut memory = File::from(memfd_create("test", flags).expect("a memfd"));
        memory.write_all(b"as it was").expect("room");
        let map = seal(&memory).expect("sealed");
        memory.write_all_at(b"X", 0).expect_err("writing is sealed");
        memory.set_len(1).expect_err("shrinking is sealed");
        memory.set_len(1 << 20).expect_err("growing is sealed");
        fcntl(
            memory.as_fd(),
            FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_FUTURE_WRITE),
        )
        .expect_err("the seals are sealed");
        assert_eq!(&map[..], b"as it was");
    }
}
