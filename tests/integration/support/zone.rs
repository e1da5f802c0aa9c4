//! A time zone in which no period of a quota ends while the tests run.

use std::sync::OnceLock;
use std::time::SystemTime;

/// Zones without daylight saving time, with the minutes that they are ahead of UTC: at whole hours, and at half hours.
const WHOLE: [(&str, i64); 2] = [("UTC", 0), ("Etc/GMT-8", 480)];
const HALF: [(&str, i64); 2] = [("Asia/Kolkata", 330), ("Pacific/Marquesas", -570)];

/// The name of a zone in which it is neither near midnight nor near the end of an hour: else a test that counts the bytes of
/// a month fails when it runs at the end of one. It is the same for all tests, since instances of a fleet share it.
pub(crate) fn steady_zone() -> &'static str {
    static CHOSEN: OnceLock<&str> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        at_minute(i64::try_from(now.as_secs() / 60).unwrap())
    })
}

fn at_minute(minute: i64) -> &'static str {
    let zones = WHOLE.iter().chain(&HALF);
    let mut steady = zones.filter(|(_, ahead)| {
        let local = (minute + ahead).rem_euclid(24 * 60);
        (2..=21).contains(&(local / 60)) && (2..40).contains(&(local % 60))
    });
    steady.next().unwrap().0
}

#[test]
fn there_is_one_at_each_minute() {
    for minute in 0..24 * 60 {
        at_minute(minute);
    }
}
