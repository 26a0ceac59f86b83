//! Prometheus' text, from numbers as they are at the moment of the scrape.
//!
//! Names and units: <https://prometheus.io/docs/practices/naming/>.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// One number with its labels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Labels and their values.
    pub(crate) labels: Vec<(&'static str, String)>,
    /// The number.
    pub(crate) value: f64,
}

impl Sample {
    /// A number that there is one of.
    pub(crate) fn one(value: f64) -> Vec<Self> {
        vec![Self {
            labels: Vec::new(),
            value,
        }]
    }
}

/// Numbers of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    /// `towpath_…`, with its unit; counters without `_total`, which the text adds.
    pub(crate) name: &'static str,
    /// What it counts.
    pub(crate) help: &'static str,
    /// Whether it only grows.
    pub(crate) counter: bool,
    /// The numbers.
    pub(crate) samples: Vec<Sample>,
}

/// Looks at the numbers of a role.
pub(crate) type Scrape = dyn Fn() -> Vec<Family> + Send + Sync;

struct Scraped(Box<Scrape>);

impl fmt::Debug for Scraped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scraped").finish_non_exhaustive()
    }
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in (self.0)() {
            let kind = match family.counter {
                true => MetricType::Counter,
                false => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            if let [Sample { labels, value }] = &*family.samples
                && labels.is_empty()
            {
                encode(metric, family.counter, *value)?;
                continue;
            }
            for sample in &family.samples {
                let labelled = metric.encode_family(&sample.labels)?;
                encode(labelled, family.counter, sample.value)?;
            }
        }
        Ok(())
    }
}

fn encode(metric: MetricEncoder<'_>, counter: bool, value: f64) -> fmt::Result {
    match counter {
        true => ConstCounter::new(value).encode(metric),
        false => ConstGauge::new(value).encode(metric),
    }
}

/// A registry of what a role tells.
pub(crate) fn registry(scrape: Box<Scrape>) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scraped(scrape)));
    registry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_text() {
        let registry = registry(Box::new(|| {
            vec![
                Family {
                    name: "towpath_rows",
                    help: "Rows that went into the sink",
                    counter: true,
                    samples: vec![Sample {
                        labels: vec![("pipeline", "a\"b".to_owned())],
                        value: 7.0,
                    }],
                },
                Family {
                    name: "towpath_lag_seconds",
                    help: "Behind the source",
                    counter: false,
                    samples: Sample::one(0.5),
                },
            ]
        }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert_eq!(
            text,
            "# HELP towpath_rows Rows that went into the sink\n\
             # TYPE towpath_rows counter\n\
             towpath_rows_total{pipeline=\"a\\\"b\"} 7.0\n\
             # HELP towpath_lag_seconds Behind the source\n\
             # TYPE towpath_lag_seconds gauge\n\
             towpath_lag_seconds 0.5\n\
             # EOF\n"
        );
    }
}
