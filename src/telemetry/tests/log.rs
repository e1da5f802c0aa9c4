//! The file of the access log.

use super::*;

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        access: Destination::File(dir.path().join("none/access.log")),
        ..Settings::default()
    };
    let error = Telemetry::new(&settings).err().unwrap();
    assert!(matches!(error, TelemetryError::AccessLog { .. }));
    let path = dir.path().join("none/access.log");
    assert_eq!(
        error.to_string(),
        format!("cannot open the access log {}", path.display())
    );
}

#[test]
fn reopening_after_rotation_loses_no_record() {
    let (telemetry, path, dir) = logging(Settings::default());
    let rotated = dir.path().join("access.log.1");
    telemetry.record(&record(Role::Gateway));
    assert!(telemetry.flush(DEADLINE));
    fs::rename(&path, &rotated).unwrap();
    telemetry.reopen();
    assert!(telemetry.flush(DEADLINE));
    telemetry.record(&record(Role::Gateway));
    assert_eq!(log_lines(&telemetry, &rotated).len(), 1);
    assert_eq!(log_lines(&telemetry, &path).len(), 1);
}
