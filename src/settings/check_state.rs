//! `[state]`: what has to survive the process.

use super::StateSettings;
use super::check::Check;
use super::raw::RawState;

const MIB: u64 = 1 << 20;
/// At fifty thousand active keys this lasts for some hours.
const USAGE_BYTES_USUAL: u64 = 1_024 * MIB;

impl Check<'_> {
    pub(super) fn state(&mut self, written: RawState) -> StateSettings {
        let directory = written
            .directory
            .and_then(|directory| self.path("state.directory", directory));
        let mut usage_bytes_max = USAGE_BYTES_USUAL;
        let range = MIB..=1_024 * 1_024 * MIB;
        let path = "state.usage_bytes_max";
        self.number(path, written.usage_bytes_max, &mut usage_bytes_max, range);
        StateSettings {
            directory,
            usage_bytes_max,
        }
    }
}
