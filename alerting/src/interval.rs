//! Time intervals: office hours, weekends, maintenance windows, as Alertmanager's configuration words them.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike, Local, NaiveDateTime, Timelike, Utc};
use chrono_tz::Tz;
use detect::UnixNanos;

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Times that are in all of the fields that are given; an empty field holds every time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeInterval {
    /// Minutes of the day, the last not included.
    pub times: Vec<std::ops::Range<u32>>,
    /// Days of the week, 0 for Sunday.
    pub weekdays: Vec<RangeInclusive<u32>>,
    /// Days of the month from 1 on; negative ones count from its end, -1 for the last.
    pub days_of_month: Vec<RangeInclusive<i32>>,
    /// Months, 1 for January.
    pub months: Vec<RangeInclusive<u32>>,
    /// Years.
    pub years: Vec<RangeInclusive<i32>>,
    /// Whose times they are.
    pub zone: Zone,
}

/// A time zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// Coordinated universal time.
    #[default]
    Utc,
    /// That of this machine (`TZ`).
    Local,
    /// One of the IANA database, with its daylight-saving times of all years.
    Named(Tz),
}

impl Zone {
    /// `UTC`, `Local`, or a name of the IANA database such as `Europe/Zurich`. Names are read exactly.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "UTC" => Ok(Self::Utc),
            "Local" => Ok(Self::Local),
            name => name.parse().map(Self::Named).map_err(|_| "UTC, Local, or a time zone such as Europe/Zurich"),
        }
    }

    fn wall_time(self, at: DateTime<Utc>) -> NaiveDateTime {
        match self {
            Self::Utc => at.naive_utc(),
            Self::Local => at.with_timezone(&Local).naive_local(),
            Self::Named(zone) => at.with_timezone(&zone).naive_local(),
        }
    }
}

impl TimeInterval {
    /// Whether the interval holds this wall time.
    #[must_use]
    pub fn contains(&self, at: UnixNanos) -> bool {
        self.holds(self.zone.wall_time(DateTime::from_timestamp_nanos(at.0)))
    }

    fn holds(&self, at: NaiveDateTime) -> bool {
        let minute = at.hour() * 60 + at.minute();
        let days = i32::from(at.num_days_in_month());
        let day = i32::try_from(at.day()).unwrap_or_default();
        // A day beyond the month's end counts as its last one, as a negative one before its beginning as the first.
        let from_start = |day: i32| if day < 0 { (days + 1 + day).max(1) } else { day.min(days) };
        let is_day = |range: &RangeInclusive<i32>| {
            let begins = if *range.start() > days { i32::MAX } else { from_start(*range.start()) };
            (begins..=from_start(*range.end())).contains(&day)
        };
        let any = |is_empty: bool, found: bool| is_empty || found;
        any(self.times.is_empty(), self.times.iter().any(|range| range.contains(&minute)))
            && any(
                self.weekdays.is_empty(),
                self.weekdays.iter().any(|range| range.contains(&at.weekday().num_days_from_sunday())),
            )
            && any(self.days_of_month.is_empty(), self.days_of_month.iter().any(is_day))
            && any(self.months.is_empty(), self.months.iter().any(|range| range.contains(&at.month())))
            && any(self.years.is_empty(), self.years.iter().any(|range| range.contains(&at.year())))
    }

    /// Minutes of the day, from `start` to `end` as `HH:MM`; `24:00` is the end of the day.
    ///
    /// # Errors
    /// What was expected.
    pub fn time_range(start: &str, end: &str) -> Result<std::ops::Range<u32>, &'static str> {
        let (start, end) = (minute(start)?, minute(end)?);
        if start < end { Ok(start..end) } else { Err("expected start_time before end_time") }
    }

    /// Days of the week, as `monday` or `monday:friday`.
    ///
    /// # Errors
    /// What was expected.
    pub fn weekday_range(text: &str) -> Result<RangeInclusive<u32>, &'static str> {
        const EXPECTED: &str = "expected days of the week, as monday or monday:friday";
        let name = |text: &str| position(&WEEKDAYS, text).ok_or(EXPECTED);
        ordered(text, name, EXPECTED)
    }

    /// Days of the month, as `1`, `1:5` or `-3:-1`.
    ///
    /// # Errors
    /// What was expected.
    pub fn day_range(text: &str) -> Result<RangeInclusive<i32>, &'static str> {
        const EXPECTED: &str = "expected days of the month, as 1, 1:5 or -3:-1";
        let day = |text: &str| match text.parse::<i32>() {
            Ok(day) if day != 0 && (-31..=31).contains(&day) => Ok(day),
            _ => Err(EXPECTED),
        };
        let (start, end) = ends(text, day)?;
        // Whether they are in order may depend on the month, where one of them counts from its end.
        if (start > 0) == (end > 0) && start > end || (start < 0 && end > 0) {
            return Err(EXPECTED);
        }
        Ok(start..=end)
    }

    /// Months, as `january`, `1` or `january:march`.
    ///
    /// # Errors
    /// What was expected.
    pub fn month_range(text: &str) -> Result<RangeInclusive<u32>, &'static str> {
        const EXPECTED: &str = "expected months, as january, 1 or january:march";
        let month = |text: &str| {
            let number = text.parse().ok().filter(|n| (1..=12).contains(n));
            number.or_else(|| position(&MONTHS, text).map(|n| n + 1)).ok_or(EXPECTED)
        };
        ordered(text, month, EXPECTED)
    }

    /// Years, as `2026` or `2026:2028`.
    ///
    /// # Errors
    /// What was expected.
    pub fn year_range(text: &str) -> Result<RangeInclusive<i32>, &'static str> {
        const EXPECTED: &str = "expected years, as 2026 or 2026:2028";
        ordered(text, |text| text.parse().map_err(|_| EXPECTED), EXPECTED)
    }
}

fn position(names: &[&str], text: &str) -> Option<u32> {
    let found = names.iter().position(|name| name.eq_ignore_ascii_case(text))?;
    u32::try_from(found).ok()
}

fn ends<T: Copy>(text: &str, read: impl Fn(&str) -> Result<T, &'static str>) -> Result<(T, T), &'static str> {
    match text.split_once(':') {
        Some((start, end)) => Ok((read(start.trim())?, read(end.trim())?)),
        None => read(text.trim()).map(|one| (one, one)),
    }
}

fn ordered<T: Copy + PartialOrd>(
    text: &str,
    read: impl Fn(&str) -> Result<T, &'static str>,
    expected: &'static str,
) -> Result<RangeInclusive<T>, &'static str> {
    let (start, end) = ends(text, read)?;
    if start <= end { Ok(start..=end) } else { Err(expected) }
}

fn minute(text: &str) -> Result<u32, &'static str> {
    const EXPECTED: &str = "expected a time of day, as 09:00";
    let (hour, minute) = text.split_once(':').ok_or(EXPECTED)?;
    let two = |text: &str| if text.len() == 2 { text.parse::<u32>().map_err(|_| EXPECTED) } else { Err(EXPECTED) };
    match (two(hour)?, two(minute)?) {
        (hour @ 0..=23, minute @ 0..=59) => Ok(hour * 60 + minute),
        (24, 0) => Ok(24 * 60),
        _ => Err(EXPECTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixNanos {
        let time: DateTime<Utc> = format!("{text}:00Z").parse().expect("is a time");
        UnixNanos(time.timestamp_nanos_opt().expect("is near"))
    }

    #[test]
    fn all_fields_have_to_hold() {
        let office = TimeInterval {
            times: vec![TimeInterval::time_range("09:00", "17:00").expect("is a range")],
            weekdays: vec![TimeInterval::weekday_range("Monday:friday").expect("is a range")],
            ..TimeInterval::default()
        };
        // 2026-11-26 is a Thursday.
        let held = ["2026-11-26T09:00", "2026-11-26T16:59", "2026-11-26T08:59", "2026-11-26T17:00", "2026-11-28T12:00"];
        assert_eq!(held.map(|text| office.contains(at(text))), [true, true, false, false, false]);
        assert!(TimeInterval::default().contains(at("2026-11-28T12:00")));
    }

    #[test]
    fn a_zone_has_its_own_hours_in_summer_and_in_winter() {
        let office = |zone: &str| TimeInterval {
            times: vec![TimeInterval::time_range("09:00", "17:00").expect("is a range")],
            zone: Zone::parse(zone).expect("is a zone"),
            ..TimeInterval::default()
        };
        let zurich = office("Europe/Zurich");
        assert!(zurich.contains(at("2026-07-01T07:00")) && !zurich.contains(at("2026-07-01T15:00")), "UTC+2");
        assert!(zurich.contains(at("2026-12-01T08:00")) && !zurich.contains(at("2026-12-01T07:30")), "UTC+1");
        assert!(office("Asia/Kolkata").contains(at("2026-07-01T03:30")), "half hours");
        assert!(office("UTC").contains(at("2026-07-01T09:00")) && Zone::parse("Mars/Olympus").is_err());
    }

    #[test]
    fn days_count_from_either_end_of_the_month() {
        let held = |range: &str, text: &str| {
            let days_of_month = vec![TimeInterval::day_range(range).expect("is a range")];
            TimeInterval { days_of_month, ..TimeInterval::default() }.contains(at(text))
        };
        assert!(held("-3:-1", "2026-02-26T00:00") && held("-1", "2028-02-29T00:00"));
        assert!(!held("-3:-1", "2026-02-25T00:00") && !held("31", "2026-11-30T00:00"));
        assert!(held("28:31", "2026-11-30T00:00") && held("5:-5", "2026-11-20T00:00"));
    }

    #[test]
    fn months_and_years_are_read_by_name_and_number() {
        assert_eq!(TimeInterval::month_range("march:May"), Ok(3..=5));
        assert_eq!(TimeInterval::month_range("12"), Ok(12..=12));
        assert_eq!(TimeInterval::year_range("2026:2028"), Ok(2026..=2028));
        assert_eq!(TimeInterval::time_range("00:00", "24:00"), Ok(0..1440));
    }

    #[test]
    fn what_is_no_range_is_said() {
        for text in ["", "moonday", "friday:monday", "1"] {
            assert!(TimeInterval::weekday_range(text).is_err(), "{text}");
        }
        for text in ["0", "32", "5:1", "-1:-3", "-1:5", "x"] {
            assert!(TimeInterval::day_range(text).is_err(), "{text}");
        }
        assert!(TimeInterval::month_range("13").is_err() && TimeInterval::year_range("2028:2026").is_err());
        for (start, end) in [("9:00", "17:00"), ("17:00", "09:00"), ("00:00", "24:01"), ("a", "b")] {
            assert!(TimeInterval::time_range(start, end).is_err(), "{start} {end}");
        }
    }
}
