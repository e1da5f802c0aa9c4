use super::*;

#[test]
fn buckets_rise() {
    for buckets in [REQUEST_BUCKETS, CONNECT_BUCKETS, TUNNEL_BUCKETS] {
        assert!(buckets.is_sorted());
    }
}

#[test]
fn sums_the_bytes_of_all_roles() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    for (role, n) in crate::telemetry::record::ROLES.into_iter().zip(1..) {
        let bytes = metrics.bytes.of(role);
        bytes.from_client.inc_by(n);
        bytes.to_client.inc_by(10 * n);
    }
    assert_eq!(metrics.total_bytes(), (10, 100));
}
