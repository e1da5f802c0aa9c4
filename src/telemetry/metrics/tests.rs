use super::*;

#[test]
fn nothing_counted_yet_can_be_rendered() {
    let text = Metrics::new("1.2.3").unwrap().render();
    assert!(text.contains("tollgate_build_info{version=\"1.2.3\"} 1\n"));
    assert!(text.contains("tollgate_open_tunnels 0\n"));
    assert!(text.contains("process_cpu_seconds_total "));
}

#[test]
fn every_metric_has_a_name_in_the_list_once() {
    let mut names = names::METRICS.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), names::METRICS.len());
}

#[test]
fn buckets_rise() {
    for buckets in [REQUEST_BUCKETS, CONNECT_BUCKETS, TUNNEL_BUCKETS] {
        assert!(buckets.is_sorted());
    }
}

#[test]
fn sums_the_bytes_of_all_roles() {
    let metrics = Metrics::new("x").unwrap();
    for (role, n) in ROLES.into_iter().zip(1..) {
        let bytes = metrics.bytes(role).unwrap();
        bytes.from_client.inc_by(n);
        bytes.to_client.inc_by(10 * n);
    }
    assert_eq!(metrics.total_bytes(), (10, 100));
}
