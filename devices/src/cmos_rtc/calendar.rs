//! Dates from 2000 to 2099, where every fourth year leaps, and the bytes the clock writes them in.

use std::fmt;

/// Seconds in a day.
pub(super) const SECONDS_PER_DAY: u64 = 86_400;
/// Days in the hundred years the clock counts.
const DAYS_PER_CENTURY: u64 = 36_525;
/// Days in four years, the first of which leaps.
const DAYS_PER_FOUR_YEARS: u64 = 1_461;
/// 1 January 2000 was a Saturday; Sunday is 1.
const FIRST_DAY_OF_WEEK: u64 = 7;

/// A date and a time of day; no time zone.
///
/// Fields out of range are put right by whoever takes one: the clock counts from 2000 to 2099, and then from 2000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DateTime {
    /// 2000 to 2099.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl DateTime {
    /// The same with each field in its range.
    pub(super) fn put_right(self) -> DateTime {
        let year = 2000 + self.year % 100;
        let month = self.month.clamp(1, 12);
        DateTime {
            year,
            month,
            day: self.day.clamp(1, days_in_month(year, month)),
            hour: self.hour % 24,
            minute: self.minute % 60,
            second: self.second % 60,
        }
    }

    pub(super) fn second_of_day(self) -> u32 {
        u32::from(self.hour) * 3600 + u32::from(self.minute) * 60 + u32::from(self.second)
    }

    /// 1 is Sunday.
    pub(super) fn day_of_week(self) -> u8 {
        ((self.day_number() + FIRST_DAY_OF_WEEK - 1) % 7 + 1) as u8
    }

    /// The time so many seconds later.
    pub(super) fn after(self, seconds: u64) -> DateTime {
        let second_of_day = u64::from(self.second_of_day()) + seconds % SECONDS_PER_DAY;
        let day = self.day_number() + seconds / SECONDS_PER_DAY + second_of_day / SECONDS_PER_DAY;
        let second_of_day = (second_of_day % SECONDS_PER_DAY) as u32;
        DateTime {
            hour: (second_of_day / 3600) as u8,
            minute: (second_of_day / 60 % 60) as u8,
            second: (second_of_day % 60) as u8,
            ..DateTime::of_day(day % DAYS_PER_CENTURY)
        }
    }

    /// Days since 1 January 2000.
    fn day_number(self) -> u64 {
        let year = u64::from(self.year % 100);
        let months: u64 = (1..self.month).map(|month| u64::from(days_in_month(self.year, month))).sum();
        year * 365 + year.div_ceil(4) + months + u64::from(self.day) - 1
    }

    /// Midnight, so many days after 1 January 2000.
    fn of_day(number: u64) -> DateTime {
        let (fours, mut rest) = (number / DAYS_PER_FOUR_YEARS, number % DAYS_PER_FOUR_YEARS);
        let mut year = 2000 + 4 * fours as u16;
        while rest >= days_in_year(year) {
            rest -= days_in_year(year);
            year += 1;
        }
        let mut month = 1;
        while rest >= days_in_month(year, month).into() {
            rest -= u64::from(days_in_month(year, month));
            month += 1;
        }
        DateTime { year, month, day: rest as u8 + 1, hour: 0, minute: 0, second: 0 }
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DateTime { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

fn days_in_year(year: u16) -> u64 {
    if year.is_multiple_of(4) { 366 } else { 365 }
}

fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// How register B has time written (data sheet, "Time, Calendar, and Alarm Data Modes").
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub(super) binary: bool,
    pub(super) hours_24: bool,
}

/// With 12 hours: after noon.
const PM: u8 = 1 << 7;

impl Format {
    /// BCD and 24 hours, which firmware leaves and other bytes of the memory are always in.
    pub(super) const FIRMWARE: Format = Format { binary: false, hours_24: true };

    pub(super) fn encode(self, value: u8) -> u8 {
        if self.binary { value } else { 16 * (value / 10) + value % 10 }
    }

    /// No byte is wrong: what is no digit counts as its weight, cut to two digits.
    pub(super) fn decode(self, byte: u8) -> u8 {
        if self.binary { byte } else { (byte >> 4) * 10 % 100 + (byte & 0xf) }
    }

    pub(super) fn encode_hour(self, hour: u8) -> u8 {
        match hour {
            _ if self.hours_24 => self.encode(hour),
            0 => self.encode(12),
            1..=11 => self.encode(hour),
            12 => PM | self.encode(12),
            13.. => PM | self.encode(hour - 12),
        }
    }

    pub(super) fn decode_hour(self, byte: u8) -> u8 {
        if self.hours_24 {
            return self.decode(byte) % 24;
        }
        let hour = self.decode(byte & !PM) % 12;
        if byte & PM == 0 { hour } else { hour + 12 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_the_century_comes_after_the_last_one() {
        let mut date = DateTime { year: 2000, month: 1, day: 1, hour: 23, minute: 59, second: 59 };
        for number in 0..DAYS_PER_CENTURY {
            assert_eq!(date.day_number(), number);
            assert_eq!(date.put_right(), date);
            assert_eq!(u64::from(date.day_of_week()), (number + 6) % 7 + 1);
            let next = date.after(SECONDS_PER_DAY);
            assert!(next > date || number + 1 == DAYS_PER_CENTURY, "{next} after {date}");
            date = next;
        }
        assert_eq!(date.to_string(), "2000-01-01 23:59:59");
    }

    #[test]
    fn known_days() {
        let day = |year, month, day| DateTime { year, month, day, hour: 0, minute: 0, second: 0 };
        assert_eq!(day(2024, 2, 29).day_of_week(), 5, "a Thursday");
        assert_eq!(day(2024, 2, 28).after(2 * SECONDS_PER_DAY), day(2024, 3, 1));
        assert_eq!(day(2023, 2, 28).after(SECONDS_PER_DAY), day(2023, 3, 1));
        assert_eq!(day(2026, 7, 4).day_of_week(), 7, "a Saturday");
    }

    #[test]
    fn every_hour_comes_back_from_its_byte() {
        for (binary, hours_24) in [(false, false), (false, true), (true, false), (true, true)] {
            let format = Format { binary, hours_24 };
            for hour in 0..24 {
                assert_eq!(format.decode_hour(format.encode_hour(hour)), hour);
            }
        }
        let twelve = Format { binary: false, hours_24: false };
        assert_eq!([0, 11, 12, 23].map(|hour| twelve.encode_hour(hour)), [0x12, 0x11, 0x92, 0x91]);
    }
}
