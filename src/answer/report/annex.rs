//! By what a report was judged, from which captures, how, and with what regard for people.

use std::collections::BTreeSet;

use super::Facts;
use super::model::{Figure, InputLine, Judged, LedgerLine, Privacy, RuleLine};
use crate::answer::coverage::{self, Side};
use crate::recorder::alert::rfc3339;
use crate::recorder::policy::Policy;
use crate::recorder::policy::file::word;
use crate::recorder::store::rows::{InputRow, Text};
use crate::recorder::store::{Answers, Error};

impl Facts<'_> {
    pub(super) fn judged(&self, answers: &Answers) -> Result<Judged, Error> {
        let recorded = answers.judged(&self.scope)?;
        let set = |words: &mut dyn Iterator<Item = &Text>| -> Vec<String> {
            words.map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect()
        };
        let mut notes = Vec::new();
        let policies = match self.options.policy {
            Some(policy) => {
                let used = self.tally.services(|_| true);
                let tenanted = policy.tenanted();
                for service in used.iter().filter(|s| tenanted.contains(**s)) {
                    notes.push(format!(
                        "{} has rules for single tenants; what was recorded before it had them does not say which tenant, so \
                         the rule for the whole service speaks there",
                        self.service(service).name
                    ));
                }
                vec![policy.version().to_string()]
            }
            None => set(&mut recorded.iter().map(|j| &j.policy_version)),
        };
        Ok(Judged {
            policies,
            anew: self.options.policy.is_some(),
            catalogue: self.options.catalogue.version().to_owned(),
            recorded_catalogues: set(&mut recorded.iter().map(|j| &j.signature_version)),
            program: concat!("shadowtap ", env!("CARGO_PKG_VERSION")).to_owned(),
            notes,
        })
    }

    pub(super) fn privacy(&self) -> Privacy {
        let text = if self.mask.shows_names() {
            "Devices and departments are named: for those only who may see who did what.".to_owned()
        } else {
            format!(
                "Devices are numbers, by what they sent, and departments with fewer than {} devices are shown together. \
                 --names names them, for those who may see it.",
                self.mask.group_min()
            )
        };
        Privacy {
            names: if self.mask.shows_names() { "shown" } else { "masked" }.to_owned(),
            smallest_group: self.mask.group_min(),
            text,
        }
    }

    pub(super) fn rules(&self) -> Vec<RuleLine> {
        let rules = self.options.policy.map(Policy::rules).unwrap_or_default();
        let line = |r: &crate::recorder::policy::Rule| RuleLine {
            target: r.target.text(),
            status: r.status.map_or("not decided", word).to_owned(),
            owner: r.owner.as_deref().unwrap_or_default().to_owned(),
            reason: r.reason.as_deref().unwrap_or_default().to_owned(),
            decided: r.validity.decided.map(|d| d.to_string()).unwrap_or_default(),
            expires: r.validity.expires.map(|d| d.to_string()).unwrap_or_default(),
            scope: match r.scope.kinds().as_slice() {
                [] => "everybody".to_owned(),
                kinds => format!("some {}", kinds.join(" and ")),
            },
        };
        rules.iter().map(line).collect()
    }
}

pub(super) fn input_line(input: &InputRow, frames: u64) -> InputLine {
    InputLine {
        id: input.key.to_string(),
        name: input.name.to_string(),
        frames: Figure::new(input.frames, frames, "frames in all captures"),
        first_frame: rfc3339(input.first_time),
        last_frame: rfc3339(input.last_time),
        fault: input.fault.as_deref().unwrap_or_default().to_owned(),
    }
}

pub(super) fn ledger_line(line: coverage::Line) -> LedgerLine {
    let side = match line.side {
        Side::Seen => "seen",
        Side::Unseen => "unseen",
    };
    LedgerLine { side: side.to_owned(), what: line.what, amount: line.amount }
}

pub(super) fn method() -> Vec<String> {
    [
        "Seen were copies of packets, on the way past the sensor. Nothing was decrypted, asked or blocked, and no content is kept.",
        "A service is known by the name that its client sends in clear (TLS, QUIC, HTTP, DNS), looked up in a catalogue. A host that \
         speaks an AI interface in clear and stands in no catalogue is a candidate; candidates are never counted as use.",
        "Only use counts: more was sent than it takes to open a page or to keep a connection. Prefetching, embedded parts, sign-in, \
         telemetry and look-ups do not. Bulk is an upload above the threshold of the configuration. Each byte is counted once, by the \
         lengths in the packets' headers; sent means sent, not which documents.",
        "A device is a link address where the sensor sees it, else an address. A session is use without a break of half an hour. \
         Browsers and programs are told apart by how they negotiate encryption: evidence, not proof.",
        "Forbidden and allowed are decisions of the policy; what is in the catalogue and nobody decided about is not yet reviewed. \
         Both forbidden and not yet reviewed are unapproved. Unapproved use is exposure; no attack was observed unless that is said.",
    ]
    .map(str::to_owned)
    .to_vec()
}
