//! What a scrape of `/metrics` says.

use std::collections::BTreeMap;

/// One line: a name, labels and a value.
#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A scrape.
#[derive(Clone, Debug)]
pub struct Scrape {
    samples: Vec<Sample>,
    pub text: String,
}

impl Scrape {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        Self { samples: lines.map(sample).collect(), text: text.to_owned() }
    }

    /// The sum over all samples of this name with these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| {
                    sample.labels.get(*label).is_some_and(|given| given == value)
                })
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }

    /// The value of the one sample of this name.
    pub fn value(&self, name: &str) -> f64 {
        let mut found = self.samples.iter().filter(|sample| sample.name == name);
        let value = found.next().unwrap_or_else(|| panic!("no {name} in\n{}", self.text)).value;
        assert!(found.next().is_none(), "{name} is there more than once");
        value
    }

    /// Decisions with this reason.
    pub fn decisions(&self, reason: &str) -> f64 {
        self.sum("portcullis_decisions_total", &[("reason", reason)])
    }

    /// Every value that a label of a metric has.
    pub fn label_values(&self, name: &str, label: &str) -> Vec<String> {
        let samples = self.samples.iter().filter(|sample| sample.name == name);
        samples.filter_map(|sample| sample.labels.get(label).cloned()).collect()
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
        None => (series, ""),
    };
    let labels = labels.split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
        let (label, value) = pair.split_once("=\"").unwrap();
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    });
    Sample { name: name.to_owned(), labels: labels.collect(), value: value.parse().unwrap() }
}
