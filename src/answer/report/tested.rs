//! Tests that ask whether a control is configured, beside what was seen.

use std::collections::BTreeSet;

use super::Facts;
use super::model::{self, Tested};
use super::words;
use crate::answer::controls::{Controls, Observed};
use crate::answer::tally::PairKey;
use crate::answer::terminal::{counted, number};
use crate::recorder::finding::bytes;
use crate::recorder::signature::Category;
use crate::recorder::store::rows::Text;
use crate::recorder::words::ClientClass;

impl Facts<'_> {
    pub(super) fn tested(&self, controls: &Controls, risks: &[model::Risk]) -> Vec<Tested> {
        let of_category = |keep: &dyn Fn(Category) -> bool| {
            let services: Vec<String> = self
                .tally
                .services(|_| true)
                .into_iter()
                .filter(|id| self.options.catalogue.service(id).is_some_and(|s| keep(s.category)))
                .map(|id| self.service(id).name)
                .collect();
            services
        };
        let agents = of_category(&|c| {
            matches!(c, Category::Agent | Category::BrowserAgent | Category::Mcp | Category::Coding)
        });
        let (programs, on) = {
            let pairs =
                self.tally.pairs.iter().filter(|(_, p)| p.classes.contains(&ClientClass::Program));
            let pairs: Vec<&PairKey> = pairs.map(|(k, _)| k).collect();
            let devices: BTreeSet<i64> = pairs.iter().map(|k| k.0).collect();
            let services: BTreeSet<&Text> = pairs.iter().map(|k| &k.1).collect();
            (services.len() as u64, devices.len() as u64)
        };
        let orphans = risks.iter().filter(|r| r.owner.is_empty()).count() as u64;
        let tested = |t: &crate::answer::controls::Test| {
            let observed = match t.observed {
                Observed::Agents if agents.is_empty() => {
                    "no agent or coding assistant was seen on the network".to_owned()
                }
                Observed::Agents => format!(
                    "{} on the network, whatever a directory lists: {}",
                    counted(agents.len() as u64, "agent or coding service"),
                    words::listed(&agents, 6)
                ),
                Observed::Programs => format!(
                    "programs, not people, called {} from {} of {} devices",
                    counted(programs, "AI service"),
                    number(on),
                    number(self.of.devices)
                ),
                Observed::Owners => format!(
                    "{} of {} risks of this report have nobody who answers for them",
                    number(orphans),
                    number(risks.len() as u64)
                ),
                Observed::Generative => {
                    let (volume, devices) = self.tally.sum(|k| k.2.unapproved());
                    format!(
                        "{} sent {} to unapproved services straight from the network, past any gateway",
                        counted(devices, "device"),
                        bytes(volume.sent)
                    )
                }
            };
            Tested { id: t.id.clone(), title: t.title.clone(), asks: t.asks.clone(), observed }
        };
        controls.test.iter().map(tested).collect()
    }
}
