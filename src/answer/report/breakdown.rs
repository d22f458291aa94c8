//! Use by service, department, kind of client, device.

use std::collections::{BTreeMap, BTreeSet};

use super::Facts;
use super::model::{
    ClientLine, Department, DeviceRow, DeviceTable, Figure, Group, ServiceLine, UseRow, UseTable,
};
use crate::answer::tally::{Pair, PairKey, status};
use crate::recorder::alert::rfc3339;
use crate::recorder::policy::file::word;
use crate::recorder::store::rows::Text;
use crate::recorder::words::{ClientClass, Disposition, Level};

impl Facts<'_> {
    pub(super) fn groups(&self) -> Vec<Group> {
        let mut by: BTreeMap<(usize, &Text, Disposition), (Pair, BTreeSet<i64>)> = BTreeMap::new();
        for ((device, service, verdict), pair) in &self.tally.pairs {
            let entry = by.entry((status(*verdict), service, *verdict)).or_default();
            entry.0.add(pair);
            entry.1.insert(*device);
        }
        let words = [
            ("forbidden", "Forbidden"),
            ("unreviewed", "Not yet reviewed"),
            ("allowed", "Allowed"),
        ];
        let mut groups = Vec::new();
        for (place, (code, title)) in words.into_iter().enumerate() {
            let lines = by.iter().filter(|((p, ..), _)| *p == place);
            let mut services: Vec<ServiceLine> = lines
                .map(|((_, id, verdict), (pair, devices))| ServiceLine {
                    service: self.service(id),
                    status: word(*verdict).to_owned(),
                    level: pair.level.map_or("", Level::code).to_owned(),
                    devices: devices.len() as u64,
                    sessions: pair.volume.sessions,
                    sent: pair.volume.sent,
                    received: pair.volume.received,
                    flows: pair.volume.flows,
                    clients: classes(pair),
                    first_seen: rfc3339(pair.volume.first),
                    last_seen: rfc3339(pair.volume.last),
                    new: self.is_new(id),
                    tenants: pair.tenants.iter().map(ToString::to_string).collect(),
                    owner: self.owner(id),
                })
                .collect();
            services.sort_by(|a, b| (b.sent, &a.service.id).cmp(&(a.sent, &b.service.id)));
            let keep = |k: &PairKey| status(k.2) == place;
            let (volume, devices) = self.tally.sum(keep);
            let in_use = self.tally.services(|d| status(d) == place).len() as u64;
            let used = |id: &Text| services.iter().any(|s| *s.service.id == **id);
            let only_contacted: BTreeSet<String> = self
                .tally
                .below
                .keys()
                .filter(|(d, id)| status(*d) == place && !used(id))
                .map(|(_, id)| self.service(id).name)
                .collect();
            groups.push(Group {
                status: code.to_owned(),
                title: title.to_owned(),
                services_in_use: Figure::new(in_use, self.of.services, "AI services in use"),
                devices: self.devices_figure(devices),
                sessions: Figure::new(
                    volume.sessions,
                    self.of.sessions,
                    "sessions with AI services",
                ),
                sent: self.sent_figure(volume.sent),
                received: Figure::new(
                    volume.received,
                    self.of.received,
                    "bytes received from AI services",
                ),
                of: self.of.clone(),
                only_contacted: only_contacted.into_iter().collect(),
                services,
            });
        }
        groups
    }

    fn is_new(&self, id: &Text) -> bool {
        !self.used_before.is_empty() && !self.used_before.contains(id)
    }

    pub(super) fn departments(&self) -> Vec<Department> {
        #[derive(Default)]
        struct Sum<'a> {
            devices: BTreeSet<i64>,
            sent: [u64; 3],
            services: BTreeMap<&'a Text, u64>,
        }
        let mut sums: BTreeMap<&str, Sum<'_>> = BTreeMap::new();
        for ((device, service, verdict), pair) in &self.tally.pairs {
            let sum = sums.entry(self.department_of(*device)).or_default();
            sum.devices.insert(*device);
            if let Some(sent) = sum.sent.get_mut(status(*verdict)) {
                *sent = sent.saturating_add(pair.volume.sent);
            }
            if verdict.unapproved() {
                let sent = sum.services.entry(service).or_default();
                *sent = sent.saturating_add(pair.volume.sent);
            }
        }
        let mut rows: Vec<(u64, Department)> = sums
            .into_iter()
            .map(|(name, sum)| {
                let [forbidden, unreviewed, allowed] = sum.sent;
                let top =
                    sum.services.iter().max_by_key(|(id, sent)| (**sent, std::cmp::Reverse(**id)));
                let of = "bytes it sent to unapproved services";
                let unapproved = forbidden.saturating_add(unreviewed);
                let department = Department {
                    name: name.to_owned(),
                    devices: self.devices_figure(sum.devices.len() as u64),
                    sent_forbidden: self.sent_figure(forbidden),
                    sent_unreviewed: self.sent_figure(unreviewed),
                    sent_allowed: self.sent_figure(allowed),
                    top_service: top.map_or(String::new(), |(id, _)| self.service(id).name),
                    top_sent: Figure::new(top.map_or(0, |(_, sent)| *sent), unapproved, of),
                };
                (unapproved, department)
            })
            .collect();
        rows.sort_by(|a, b| (b.0, &a.1.name).cmp(&(a.0, &b.1.name)));
        rows.into_iter().map(|(_, d)| d).collect()
    }

    pub(super) fn clients(&self) -> Vec<ClientLine> {
        let words = [
            (ClientClass::Browser, "People in browsers"),
            (ClientClass::Program, "Programs and agents"),
            (ClientClass::Server, "Servers"),
            (ClientClass::Unknown, "Not told apart"),
        ];
        let mut lines = Vec::new();
        for (class, title) in words {
            let mut devices = BTreeSet::new();
            let (mut sent, mut unapproved) = (0_u64, 0_u64);
            for ((device, _, verdict), pair) in &self.tally.pairs {
                if !pair.classes.contains(&class) {
                    continue;
                }
                devices.insert(*device);
                let of_class =
                    pair.by_class.get(usize::from(class.number())).copied().unwrap_or_default();
                sent = sent.saturating_add(of_class);
                if verdict.unapproved() {
                    unapproved = unapproved.saturating_add(of_class);
                }
            }
            if devices.is_empty() {
                continue;
            }
            lines.push(ClientLine {
                class: class.code().to_owned(),
                title: title.to_owned(),
                devices: self.devices_figure(devices.len() as u64),
                sent: self.sent_figure(sent),
                sent_unapproved: Figure::new(
                    unapproved,
                    sent,
                    "bytes that these clients sent to AI",
                ),
            });
        }
        lines
    }

    pub(super) fn device_table(&self) -> DeviceTable {
        let mut sums: BTreeMap<u64, (i64, DeviceRow)> = BTreeMap::new();
        for ((device, _, verdict), pair) in &self.tally.pairs {
            let (_, row) = sums.entry(self.rank_of(*device)).or_insert_with(|| {
                let row = DeviceRow {
                    device: self.label(*device),
                    department: self.department_of(*device).to_owned(),
                    services: 0,
                    services_unapproved: 0,
                    sessions: 0,
                    sent: 0,
                    sent_unapproved: 0,
                    received: 0,
                };
                (*device, row)
            });
            row.services = row.services.saturating_add(1);
            row.sessions = row.sessions.saturating_add(pair.volume.sessions);
            row.sent = row.sent.saturating_add(pair.volume.sent);
            row.received = row.received.saturating_add(pair.volume.received);
            if verdict.unapproved() {
                row.services_unapproved = row.services_unapproved.saturating_add(1);
                row.sent_unapproved = row.sent_unapproved.saturating_add(pair.volume.sent);
            }
        }
        DeviceTable { of: self.of.clone(), rows: sums.into_values().map(|(_, row)| row).collect() }
    }

    pub(super) fn use_table(&self) -> UseTable {
        let mut order: Vec<(&PairKey, &Pair)> = self.tally.pairs.iter().collect();
        order.sort_by(|(a, x), (b, y)| {
            let key = |k: &PairKey, p: &Pair| {
                let sent = std::cmp::Reverse((k.2.unapproved(), p.volume.sent));
                (sent, self.rank_of(k.0), k.1.clone(), k.2)
            };
            key(a, x).cmp(&key(b, y))
        });
        let row = |(key, pair): (&PairKey, &Pair)| {
            let (device, service, verdict) = key;
            UseRow {
                device: self.label(*device),
                department: self.department_of(*device).to_owned(),
                service: service.to_string(),
                service_name: self.service(service).name,
                status: word(*verdict).to_owned(),
                level: pair.level.map_or("", Level::code).to_owned(),
                clients: classes(pair),
                days: pair.days.len() as u64,
                sessions: pair.volume.sessions,
                sent: pair.volume.sent,
                received: pair.volume.received,
                flows: pair.volume.flows,
                first_seen: rfc3339(pair.volume.first),
                last_seen: rfc3339(pair.volume.last),
            }
        };
        UseTable { of: self.of.clone(), rows: order.into_iter().map(row).collect() }
    }
}

fn classes(pair: &Pair) -> Vec<String> {
    pair.classes.iter().map(|c| c.code().to_owned()).collect()
}
