//! The certificates and revocation lists of the listeners, in metrics and statistics.

use super::Telemetry;

/// A certificate or a revocation list that a listener uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownCertificate {
    /// The address of the listener.
    pub listener: String,
    /// The first name of the certificate, or the file of the list.
    pub name: String,
    /// When it expires, in seconds since 1970.
    pub expires: i64,
    /// Whether it is a revocation list.
    pub is_list: bool,
}

impl Telemetry {
    /// Shows these certificates and lists from now on, and no others.
    pub fn show_certificates(&self, shown: Vec<ShownCertificate>) {
        let mut before = self.certificates.lock();
        let is_same = |one: &ShownCertificate, other: &ShownCertificate| {
            (one.is_list, &one.listener, &one.name) == (other.is_list, &other.listener, &other.name)
        };
        for gone in before.iter() {
            if !shown.iter().any(|it| is_same(it, gone)) {
                let labels = [&gone.listener, &gone.name];
                let removed = self.gauge(gone).remove_label_values(&labels);
                debug_assert!(removed.is_ok(), "a certificate that was never shown");
            }
        }
        for it in &shown {
            let labels = [&it.listener, &it.name];
            self.gauge(it).with_label_values(&labels).set(it.expires);
        }
        *before = shown;
    }

    fn gauge(&self, of: &ShownCertificate) -> &prometheus::IntGaugeVec {
        match of.is_list {
            true => &self.metrics.crl_expiry,
            false => &self.metrics.certificate_expiry,
        }
    }

    /// Counts changed files of certificates, which are in use now or cannot be used.
    pub fn certificates_read(&self, succeeded: bool) {
        let result = if succeeded { "success" } else { "failure" };
        self.metrics.certificate_reloads.inc(result);
    }
}
