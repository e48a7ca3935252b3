//! A quota of one subject: what is used of a window of the calendar.
//!
//! The shared word holds the window and what workers have taken in it. A worker takes some units
//! ahead, spends them without asking, and returns the rest at reconciliation: counts, unlike slots
//! of a schedule, can always be returned. A word whose window is over counts as unused. So in
//! every window at most the quota is admitted, since nobody spends what it did not take, in the
//! window it took it in.
//!
//! A clock that is set back does not bring a window back that is over: a word stays with the later
//! one while the clock says the window before, and both share its quota. Only a word that is
//! further ahead was written under a clock that was wrong; its window becomes today's.
//!
//! ```text
//! bits 63..43  the window: hours from 1970 to its beginning
//! bits 42..0   granules taken in it: requests, or KiB where bytes are counted
//! ```

use crate::clock::WallTime;
use crate::limit::bank::{Bank, Exchange, WordIndex};
use crate::limit::calendar::{Calendar, Window};
use crate::limit::compiled::Quota;
use crate::limit::entry::{Context, Denied, Entry, coarse};
use crate::limit::journal::Spent;
use crate::limit::schedule::Point;
use crate::limit::tag::Tag;

const COUNT_BITS: u32 = 43;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// Longer than any window: a word of one that began earlier says nothing any more.
const HOURS_PAST: u64 = 32 * 24;
/// Most granules of one lease.
const LEASE_MAX: u64 = 1_024;

/// A shared word, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// When its window began, hours since 1970.
    pub(super) window: u32,
    /// Granules taken in it.
    pub(super) granules: u64,
}

impl Count {
    pub(super) fn of_word(word: u64) -> Self {
        Self {
            window: u32::try_from(word >> COUNT_BITS).expect("21 bits"),
            granules: word & COUNT_MAX,
        }
    }

    pub(super) fn to_word(self) -> u64 {
        (u64::from(self.window) << COUNT_BITS) | self.granules.min(COUNT_MAX)
    }

    /// The count as it stands in the window that the clock says, `now`.
    fn on(self, now: Window) -> Self {
        let is_over = self.window < now.hour;
        // The clock was set back by a little: both windows share what is counted.
        let is_next = self.window > now.hour && self.window <= now.next_hour();
        match (is_over, is_next) {
            (true, _) => Self {
                window: now.hour,
                granules: 0,
            },
            (_, true) => self,
            _ => Self {
                window: now.hour,
                ..self
            },
        }
    }
}

/// The word of a quota of which so many granules are taken.
pub fn word_of(window: u32, granules: u64) -> u64 {
    Count { window, granules }.to_word()
}

/// Whether the window of a word is over, whichever calendar it follows.
pub(super) fn is_past(word: u64, now: WallTime) -> bool {
    u64::from(Count::of_word(word).window) + HOURS_PAST < now.seconds() / 3_600
}

/// What was taken of a quota for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    window: u32,
    units: u64,
}

#[cfg(test)]
impl Taken {
    /// The window that they were taken in.
    pub(super) fn window(self) -> u32 {
        self.window
    }
}

/// A quota of one subject, as one worker remembers it.
#[derive(Debug)]
pub(super) struct QuotaEntry {
    tag: Tag,
    word: WordIndex,
    used: u32,
    /// What the clock says; looked up again when it is over.
    now: Window,
    /// Names the calendar that `now` was looked up in.
    calendar: u32,
    /// The window that `left` and `unreported` belong to.
    window: u32,
    /// Units of a granule.
    granule: u64,
    /// Granules of the quota.
    most: u64,
    /// Units taken from the shared word and not spent.
    left: u64,
    /// Units spent and not told to the journal; less than zero when some came back after that.
    unreported: i64,
    /// It stands in the shard's list of those that have something to report.
    listed: bool,
}

impl QuotaEntry {
    pub(super) fn new(tag: Tag, word: WordIndex, at: Point) -> Self {
        Self {
            tag,
            word,
            used: coarse(at),
            now: Window::default(),
            calendar: 0,
            window: 0,
            granule: 1,
            most: 0,
            left: 0,
            unreported: 0,
            listed: false,
        }
    }

    /// Takes units.
    #[inline]
    pub(super) fn take(
        &mut self,
        cx: &mut Context<'_>,
        quota: &Quota,
        units: u64,
    ) -> Result<Taken, Denied> {
        self.used = coarse(cx.at);
        self.look_up(&quota.calendar, cx.now.wall);
        self.granule = quota.granule;
        self.most = quota.granules();
        let is_of_today = self.window == self.now.hour || self.is_ahead();
        if !is_of_today || self.left < units {
            self.renew(cx, quota, units)?;
        }
        self.left -= units;
        self.note(units);
        Ok(Taken {
            window: self.window,
            units,
        })
    }

    /// Ends a hold at its real cost: gives back what was too much; what was too little is counted
    /// even where it goes beyond the quota.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>, taken: Taken, units: u64) {
        // The window it was taken in is over, and what it cost is counted there or nowhere.
        if taken.window != self.window {
            return;
        }
        if units <= taken.units {
            let rest = taken.units - units;
            self.left += rest;
            self.unreported = self.unreported.saturating_sub_unsigned(rest);
            return;
        }
        let mut missing = units - taken.units;
        self.note(missing);
        let from_lease = missing.min(self.left);
        self.left -= from_lease;
        missing -= from_lease;
        if missing == 0 {
            return;
        }
        loop {
            let word = cx.bank.load(self.word);
            let mut count = Count::of_word(word);
            if count.window != self.window {
                return;
            }
            let granules = missing.div_ceil(self.granule);
            count.granules = count.granules.saturating_add(granules);
            match cx.exchange(self.word, self.tag, word, count.to_word()) {
                Exchange::Done => {
                    // What is counted beyond the quota is a debt, and nothing to spend.
                    if count.granules <= self.most {
                        self.left += granules * self.granule - missing;
                    }
                    return;
                }
                Exchange::Moved => {}
                Exchange::Gone => return,
            }
        }
    }

    /// Enters it in the list of those that have something to tell the journal.
    #[inline]
    pub(super) fn list(&mut self, to_report: &mut Vec<Tag>) {
        if !self.listed {
            self.listed = true;
            to_report.push(self.tag);
        }
    }

    /// Units left for this worker, and seconds until the window is over; changes nothing.
    pub(super) fn peek(&self, bank: &Bank, quota: &Quota, wall: WallTime) -> (u64, u64) {
        let word = bank.peek(self.word, self.tag).unwrap_or(0);
        let (left, window, reset_s) = standing(word, quota, wall);
        let own = if window == self.window { self.left } else { 0 };
        ((left + own).min(quota.units), reset_s)
    }

    /// The clock was set back, and the shared word stays with the window after.
    fn is_ahead(&self) -> bool {
        self.window > self.now.hour && self.window <= self.now.next_hour()
    }

    #[inline]
    fn look_up(&mut self, calendar: &Calendar, wall: WallTime) {
        if self.calendar != calendar.id() || !self.now.holds(wall) {
            self.now = calendar.window(wall);
            self.calendar = calendar.id();
        }
    }

    #[inline]
    fn note(&mut self, units: u64) {
        self.unreported = self.unreported.saturating_add_unsigned(units);
    }

    /// Takes from the shared word what is missing to `units`, and some more.
    #[inline(never)]
    fn renew(&mut self, cx: &mut Context<'_>, quota: &Quota, units: u64) -> Result<(), Denied> {
        loop {
            let word = cx.bank.load(self.word);
            let mut count = Count::of_word(word).on(self.now);
            if count.window != self.window {
                self.report(cx.spent);
                self.left = 0;
                self.window = count.window;
            }
            let missing = units.saturating_sub(self.left).div_ceil(quota.granule);
            let free = quota.granules().saturating_sub(count.granules);
            if missing > free {
                // A word that was written under a wrong clock comes back to today, or it would
                // never be over.
                if word != 0 && count.window < Count::of_word(word).window {
                    let _ = cx.exchange(self.word, self.tag, word, count.to_word());
                }
                return Err(Denied::spent(self.now.wait_ns(cx.now.wall)));
            }
            let ahead = ((free - missing) / (8 * cx.share.workers)).min(LEASE_MAX);
            count.granules += missing + ahead;
            match cx.exchange(self.word, self.tag, word, count.to_word()) {
                Exchange::Done => {
                    cx.counts.leases_taken += 1;
                    self.left += (missing + ahead) * quota.granule;
                    return Ok(());
                }
                Exchange::Moved => {}
                Exchange::Gone => self.word = cx.bank.find_or_insert(self.tag, cx.now)?,
            }
        }
    }

    /// Tells the journal what was spent since it was told last.
    pub(super) fn report(&mut self, spent: &mut Vec<Spent>) {
        self.listed = false;
        if self.unreported != 0 {
            spent.push(Spent {
                tag: self.tag,
                window: self.window,
                granule: u32::try_from(self.granule).unwrap_or(1),
                units: self.unreported,
            });
            self.unreported = 0;
        }
    }
}

/// What a word leaves of a quota, in which window, and seconds until that is over.
pub(super) fn standing(word: u64, quota: &Quota, wall: WallTime) -> (u64, u32, u64) {
    let now = quota.calendar.window(wall);
    let count = Count::of_word(word).on(now);
    let used = count.granules.saturating_mul(quota.granule);
    let reset_s = now.wait_ns(wall).div_ceil(1_000_000_000);
    (quota.units.saturating_sub(used), count.window, reset_s)
}

impl Entry for QuotaEntry {
    fn tag(&self) -> Tag {
        self.tag
    }

    fn used(&self) -> u32 {
        self.used
    }

    /// Returns what is left of the lease.
    fn release(&mut self, cx: &mut Context<'_>) {
        loop {
            let granules = self.left / self.granule;
            let word = cx.bank.load(self.word);
            let mut count = Count::of_word(word);
            if count.window != self.window {
                // A window that is over takes nothing back.
                self.left = 0;
            }
            if granules == 0 || self.left == 0 {
                return;
            }
            count.granules = count.granules.saturating_sub(granules);
            match cx.exchange(self.word, self.tag, word, count.to_word()) {
                Exchange::Done => {
                    cx.counts.leases_returned += 1;
                    self.left -= granules * self.granule;
                    return;
                }
                Exchange::Moved => {}
                Exchange::Gone => self.left = 0,
            }
        }
    }

    /// Less than a granule cannot be returned, and is lost: a KiB of a quota of bytes.
    fn is_spent(&self, _at: Point) -> bool {
        self.left < self.granule && !self.listed
    }

    /// What it did not tell the journal would be forgotten with it.
    fn may_go(&self) -> bool {
        !self.listed
    }
}
