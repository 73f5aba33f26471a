//! Times in Go's layouts, in UTC.

use window::UnixNanos;

/// As early as a time that was never set is here, or earlier.
pub(super) const ZERO: UnixNanos = UnixNanos(0);

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
/// Longer ones before those that they begin with.
const WORDS: [&str; 22] = [
    "January", "Monday", "2006", "Z07:00", "-07:00", "-0700", "Jan", "Mon", "MST", "06", "01", "02", "03", "04", "05",
    "15", "_2", "PM", "pm", "2", "1", "3",
];

/// The time in `layout`, in which what Go does not know is text.
pub(super) fn format(at: UnixNanos, layout: &str) -> String {
    let seconds = at.0.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second % 3_600 / 60, second % 60);
    let weekday = DAYS[usize::try_from((days + 4).rem_euclid(7)).unwrap_or(0)];
    let month_name = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let half = if hour % 12 == 0 { 12 } else { hour % 12 };
    let (mut out, mut rest) = (String::new(), layout);
    while let Some(c) = rest.chars().next() {
        let Some(word) = WORDS.iter().find(|word| rest.starts_with(**word)) else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        rest = &rest[word.len()..];
        out.push_str(&match *word {
            "January" => month_name.to_owned(),
            "Jan" => month_name[..3].to_owned(),
            "Monday" => weekday.to_owned(),
            "Mon" => weekday[..3].to_owned(),
            "2006" => format!("{year:04}"),
            "06" => format!("{:02}", year.rem_euclid(100)),
            "01" => format!("{month:02}"),
            "1" => month.to_string(),
            "02" => format!("{day:02}"),
            "_2" => format!("{day:2}"),
            "2" => day.to_string(),
            "15" => format!("{hour:02}"),
            "03" => format!("{half:02}"),
            "3" => half.to_string(),
            "04" => format!("{minute:02}"),
            "05" => format!("{second:02}"),
            "PM" => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
            "pm" => (if hour < 12 { "am" } else { "pm" }).to_owned(),
            "MST" => "UTC".to_owned(),
            "Z07:00" => "Z".to_owned(),
            "-07:00" => "+00:00".to_owned(),
            _ => "+0000".to_owned(),
        });
    }
    out
}

/// Year, month and day of the days since 1970, by the rule of the Gregorian calendar: 400 years have 146,097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, of_year - (153 * march + 2) / 5 + 1)
}
