//! Times as they are written in answers: UTC, milliseconds, `Z`.

use cairn_cluster::Timestamp;

/// `2026-07-01T12:00:00.000Z`
pub fn iso(at: Timestamp) -> String {
    match zoned(at) {
        Some(time) => time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        None => "9999-12-31T23:59:59.999Z".into(),
    }
}

/// `2026-07-01T12:00:00Z`, for those who read no fractions.
pub fn iso_seconds(at: Timestamp) -> String {
    format!("{}Z", &iso(at)[..19])
}

/// `2026-07-01`
pub fn date(at: Timestamp) -> String {
    iso(at)[..10].into()
}

/// `Wed, 01 Jul 2026 12:00:00 GMT`
pub fn http_date(at: Timestamp) -> String {
    let whole_seconds = Timestamp(at.0 - at.0 % 1000);
    match zoned(whole_seconds) {
        Some(time) => time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        None => "Fri, 31 Dec 9999 23:59:59 GMT".into(),
    }
}

/// Reads a date of HTTP, in the one form that is sent today.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    u64::try_from(time.timestamp().as_millisecond())
        .ok()
        .map(Timestamp)
}

/// `20260701120000`
pub fn compact(at: Timestamp) -> String {
    match zoned(at) {
        Some(time) => time.strftime("%Y%m%d%H%M%S").to_string(),
        None => "99991231235959".into(),
    }
}

/// Reads `2026-07-01`, or a whole time as RFC 3339 has it.
pub fn parse_date(text: &str) -> Option<Timestamp> {
    let timestamp = match text.parse::<jiff::Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let date = text.parse::<jiff::civil::Date>().ok()?;
            date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
        }
    };
    u64::try_from(timestamp.as_millisecond()).ok().map(Timestamp)
}

/// The time that is so long ago: `7d`, `1 month`, `90 days`. None if that is no length of time,
/// or no time that there was.
pub fn before(now: Timestamp, age: &str) -> Option<Timestamp> {
    let age: jiff::Span = age.parse().ok()?;
    let then = zoned(now)?.checked_sub(age).ok()?.timestamp();
    let then = u64::try_from(then.as_millisecond()).ok().map(Timestamp)?;
    (then <= now).then_some(then)
}

fn zoned(at: Timestamp) -> Option<jiff::Zoned> {
    let milliseconds = i64::try_from(at.0).ok()?;
    let time = jiff::Timestamp::from_millisecond(milliseconds).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Timestamp = Timestamp(1_782_907_200_123);

    #[test]
    fn times_are_written_as_clients_expect() {
        assert_eq!(iso(MOMENT), "2026-07-01T12:00:00.123Z");
        assert_eq!(iso_seconds(MOMENT), "2026-07-01T12:00:00Z");
        assert_eq!(date(MOMENT), "2026-07-01");
        assert_eq!(compact(MOMENT), "20260701120000");
        assert_eq!(http_date(MOMENT), "Wed, 01 Jul 2026 12:00:00 GMT");
        assert_eq!(iso(Timestamp(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_are_read_back() {
        assert_eq!(
            parse_http_date(&http_date(MOMENT)),
            Some(Timestamp(1_782_907_200_000))
        );
        assert_eq!(parse_date("2026-07-01"), Some(Timestamp(1_782_864_000_000)));
        assert_eq!(parse_date("2026-07-01T12:00:00.123Z"), Some(MOMENT));
        assert_eq!(parse_date("yesterday"), None);
        assert_eq!(parse_http_date("yesterday"), None);
        assert_eq!(parse_http_date("Wed, 01 Jul 1926 12:00:00 GMT"), None);
    }
}
