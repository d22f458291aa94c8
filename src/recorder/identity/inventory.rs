//! Devices, their users, and people's departments, from exports of whoever manages them.
//!
//! In: CSV with a header line (Intune, a CMDB, an MDM, a directory), or TOML with `[[device]]`
//! and `[[person]]`. Out: an [`Inventory`], and what is wrong by line.
//! Never: takes a line whose meaning is in doubt; that line is told.
//! Limits: [`LINES_MAX`] lines a file; the size of files is their reader's to limit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use rapidhash::fast::RandomState;
use serde::Deserialize;

use super::people::Account;
use crate::recorder::store::rows::Text;
use crate::types::MacAddr;
use crate::written::{Place, Problem, mac};

/// Lines read of one file: devices and people of the largest companies.
pub const LINES_MAX: usize = 2_000_000;

/// Who is a person: department and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Login, lower case, without domain.
    pub user: Text,
    /// Department.
    pub department: Option<Text>,
    /// Groups.
    pub groups: Vec<Text>,
}

/// A device that somebody manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// Name, lower case, without domain.
    pub name: Option<Text>,
    /// Login of its primary user.
    pub user: Option<Text>,
    /// Department that its line names.
    pub department: Option<Text>,
}

/// By what a device is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Its link address.
    Mac(MacAddr),
    /// Its name, plain.
    Name(Text),
    /// The address that was assigned to it.
    Address(IpAddr),
}

/// Devices and people.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    devices: Vec<Managed>,
    by_mac: HashMap<MacAddr, Option<u32>, RandomState>,
    by_name: HashMap<Text, Option<u32>, RandomState>,
    by_address: HashMap<IpAddr, Option<u32>, RandomState>,
    people: HashMap<Text, Person, RandomState>,
    /// Other logins of a person: a mail address beside an account.
    aliases: HashMap<Text, Text, RandomState>,
}

/// Which column holds what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Link address; several columns may be one.
    Mac,
    /// Device name.
    Name,
    /// Static address.
    Address,
    /// Primary user, or the person of a directory; the first is the login, others are aliases.
    User,
    /// Department.
    Department,
    /// Groups, parted by `;` or `|`.
    Groups,
}

impl Field {
    /// The field of a word in `columns`.
    pub fn from_word(word: &str) -> Option<Field> {
        Some(match word {
            "mac" => Field::Mac,
            "name" => Field::Name,
            "address" => Field::Address,
            "user" => Field::User,
            "department" => Field::Department,
            "groups" => Field::Groups,
            _ => return None,
        })
    }

    /// Guesses by the head of a column, as exports of Intune, Jamf, Snipe-IT, GLPI and Active
    /// Directory write it; the number orders columns of one field.
    fn guess(head: &str) -> Option<(Field, u8)> {
        let plain: String = head.chars().filter(char::is_ascii_alphanumeric).collect();
        Some(match plain.to_ascii_lowercase().as_str() {
            "mac" | "macaddress" | "macaddresses" | "wifimac" | "wifimacaddress" | "wlanmac"
            | "ethernetmac" | "ethernetmacaddress" | "hardwareaddress" | "physicaladdress"
            | "lanmac" | "primarymac" => (Field::Mac, 0),
            "devicename" | "hostname" | "computername" | "computer" | "assetname" | "device"
            | "name" => (Field::Name, 0),
            "ip" | "ipaddress" | "ipv4address" | "ipv6address" | "address" => (Field::Address, 0),
            "samaccountname" | "login" | "username" | "account" => (Field::User, 0),
            "primaryuserupn" | "userprincipalname" | "upn" => (Field::User, 1),
            "primaryuser" | "user" | "owner" | "assignedto" | "loggedonuser" => (Field::User, 2),
            "primaryuseremailaddress" | "email" | "emailaddress" | "mail" => (Field::User, 3),
            "department" | "dept" | "abteilung" | "orgunit" | "costcenter" => {
                (Field::Department, 0)
            }
            "groups" | "group" | "memberof" => (Field::Groups, 0),
            _ => return None,
        })
    }
}

/// One line, read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Line {
    mac: Vec<String>,
    name: String,
    address: Vec<String>,
    user: Vec<String>,
    department: String,
    groups: Vec<String>,
}

/// A file in TOML.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tables {
    device: Vec<toml::Spanned<Line>>,
    person: Vec<toml::Spanned<Line>>,
}

/// Name of a device as it is compared: lower case, without domain.
pub fn plain_name(name: &str) -> Text {
    let name = name.trim().to_lowercase();
    Text::from(name.split('.').next().unwrap_or_default())
}

impl Inventory {
    /// The device with this link address, if it is one of ours.
    pub fn by_mac(&self, mac: MacAddr) -> Option<&Managed> {
        self.device(self.by_mac.get(&mac))
    }

    /// The device of that name; a name that several have is nobody's.
    pub fn by_name(&self, name: &str) -> Option<&Managed> {
        self.device(self.by_name.get(&plain_name(name)))
    }

    /// The device to which the address was assigned.
    pub fn by_address(&self, addr: IpAddr) -> Option<&Managed> {
        self.device(self.by_address.get(&addr))
    }

    fn device(&self, place: Option<&Option<u32>>) -> Option<&Managed> {
        self.devices.get((*place?)? as usize)
    }

    /// The login under which a person is known, for any of them.
    pub fn login(&self, user: &Text) -> Text {
        self.aliases.get(user).unwrap_or(user).clone()
    }

    /// What a directory says of a person.
    pub fn person(&self, user: &str) -> Option<&Person> {
        self.people.get(user)
    }

    /// Every person, by login.
    pub fn people(&self) -> Vec<&Person> {
        let mut all: Vec<&Person> = self.people.values().collect();
        all.sort_by(|a, b| a.user.cmp(&b.user));
        all
    }

    /// Every device with its names, for those who look for a pseudonym's owner.
    pub fn devices(&self) -> &[Managed] {
        &self.devices
    }

    /// Every link address, in order.
    pub fn macs(&self) -> Vec<MacAddr> {
        let mut all: Vec<MacAddr> = self.by_mac.keys().copied().collect();
        all.sort();
        all
    }

    /// Every key by which a device is known, with the device's number; a key that several have is
    /// nobody's.
    pub fn keys(&self) -> Vec<(Key, u32)> {
        let macs = self.by_mac.iter().map(|(mac, n)| (Key::Mac(*mac), *n));
        let names = self.by_name.iter().map(|(name, n)| (Key::Name(name.clone()), *n));
        let addresses = self.by_address.iter().map(|(addr, n)| (Key::Address(*addr), *n));
        macs.chain(names).chain(addresses).filter_map(|(key, n)| Some((key, n?))).collect()
    }

    /// How many devices and people there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.devices.len(), self.people.len())
    }

    /// Adds a file; `.toml` by its name, else CSV. `columns` say which head stands for what.
    /// What is told is what was not taken.
    pub fn read(&mut self, file: &str, text: &str, columns: &[(Field, String)]) -> Vec<Problem> {
        if file.to_ascii_lowercase().ends_with(".toml") {
            self.read_toml(file, text)
        } else {
            self.read_csv(file, text, columns)
        }
    }

    fn read_toml(&mut self, file: &str, text: &str) -> Vec<Problem> {
        let line_of = |at: usize| text.get(..at).map_or(0, |t| t.matches('\n').count()) + 1;
        let tables: Tables = match toml::from_str(text) {
            Ok(tables) => tables,
            Err(e) => {
                let line = e.span().map_or(0, |span| line_of(span.start));
                return vec![told(file, line, e.message())];
            }
        };
        let mut problems = Vec::new();
        for entry in tables.device.iter().chain(&tables.person) {
            if let Err(why) = self.take(entry.get_ref()) {
                problems.push(told(file, line_of(entry.span().start), &why));
            }
        }
        problems
    }

    fn read_csv(&mut self, file: &str, text: &str, columns: &[(Field, String)]) -> Vec<Problem> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let first = text.lines().next().unwrap_or_default();
        // Spreadsheets of half of Europe part columns by semicolons.
        let separator = [b';', b'\t', b',']
            .into_iter()
            .max_by_key(|s| (first.bytes().filter(|b| b == s).count(), *s == b','));
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(separator.unwrap_or(b','))
            .flexible(true)
            .from_reader(text.as_bytes());
        let heads: Vec<Option<(Field, u8)>> = match reader.headers() {
            Ok(heads) => heads.iter().map(|head| field_of(head, columns)).collect(),
            Err(e) => return vec![told(file, 1, &e.to_string())],
        };
        let has = |field| heads.iter().flatten().any(|(f, _)| *f == field);
        let device = has(Field::Mac) || has(Field::Name) || has(Field::Address);
        let person = has(Field::User) && (has(Field::Department) || has(Field::Groups));
        if !device && !person {
            let problem = told(
                file,
                1,
                "no column holds a device (mac, name, address) or a person (user with department or groups)",
            );
            return vec![problem.with_hint(
                "name columns with `columns = [\"user=Head of the column\"]` in [identity]",
            )];
        }
        let mut problems = Vec::new();
        for (count, record) in reader.records().enumerate() {
            if count >= LINES_MAX {
                problems.push(told(file, count, "more lines than are read"));
                break;
            }
            let record = match record {
                Ok(record) => record,
                Err(e) => {
                    let line = e.position().map_or(0, csv::Position::line);
                    problems.push(told(
                        file,
                        usize::try_from(line).unwrap_or(0),
                        "is no UTF-8 or no CSV",
                    ));
                    continue;
                }
            };
            let at = record.position().map_or(0, csv::Position::line);
            let at = usize::try_from(at).unwrap_or(0);
            if let Err(why) = self.take(&line_of(&heads, &record)) {
                problems.push(told(file, at, &why));
            }
        }
        problems
    }

    /// Takes one line.
    fn take(&mut self, line: &Line) -> Result<(), String> {
        let mut macs = Vec::new();
        for text in line.mac.iter().flat_map(|m| m.split([';', '|', ' '])).filter(|m| !m.is_empty())
        {
            macs.push(
                any_mac(text).ok_or_else(|| format!("`{}` is no link address", shown(text)))?,
            );
        }
        let mut addresses = Vec::new();
        for text in line.address.iter().map(|a| a.trim()).filter(|a| !a.is_empty()) {
            let addr = text.parse::<IpAddr>();
            addresses.push(addr.map_err(|_| format!("`{}` is no address", shown(text)))?);
        }
        let mut users = Vec::new();
        for text in line.user.iter().map(|u| u.trim()).filter(|u| !u.is_empty()) {
            match Account::read(text) {
                Account::Person(user) if !users.contains(&user) => users.push(user),
                Account::Person(_) => {}
                _ => return Err(format!("`{}` is no person's login", shown(text))),
            }
        }
        let name = Some(plain_name(&line.name)).filter(|n| !n.is_empty());
        let device = !macs.is_empty() || !addresses.is_empty() || name.is_some();
        if !device && users.is_empty() {
            return Err("names neither a device nor a person".to_owned());
        }
        let user = users.first().map(|first| self.login(first));
        if let Some(user) = &user {
            for alias in users.iter().filter(|a| *a != user) {
                self.aliases.entry(alias.clone()).or_insert_with(|| user.clone());
            }
            self.describe(user, line);
        }
        if !device {
            return Ok(());
        }
        let place = u32::try_from(self.devices.len()).map_err(|_| "too many devices".to_owned())?;
        for mac in macs {
            add(&mut self.by_mac, mac, place, &self.devices, user.as_ref());
        }
        for addr in addresses {
            add(&mut self.by_address, addr, place, &self.devices, user.as_ref());
        }
        if let Some(name) = &name {
            add(&mut self.by_name, name.clone(), place, &self.devices, user.as_ref());
        }
        let department = Some(line.department.trim()).filter(|d| !d.is_empty()).map(Text::from);
        self.devices.push(Managed { name, user, department });
        Ok(())
    }

    fn describe(&mut self, user: &Text, line: &Line) {
        let department = Some(line.department.trim()).filter(|d| !d.is_empty());
        let groups = line.groups.iter().flat_map(|g| g.split([';', '|'])).map(group);
        let person = self.people.entry(user.clone()).or_default();
        person.user = user.clone();
        if department.is_some() {
            person.department = department.map(Text::from);
        }
        for group in groups.filter(|g| !g.is_empty()) {
            if !person.groups.contains(&group) {
                person.groups.push(group);
            }
        }
    }
}

/// Two devices under one key are nobody, unless both belong to the same person.
fn add<K: std::hash::Hash + Eq>(
    map: &mut HashMap<K, Option<u32>, RandomState>,
    key: K,
    place: u32,
    devices: &[Managed],
    user: Option<&Text>,
) {
    let known = map.entry(key).or_insert(Some(place));
    if let Some(other) = known.filter(|other| *other != place)
        && devices.get(other as usize).is_none_or(|d| d.user.as_ref() != user)
    {
        *known = None;
    }
}

fn field_of(head: &str, columns: &[(Field, String)]) -> Option<(Field, u8)> {
    let told = columns.iter().find(|(_, name)| name.eq_ignore_ascii_case(head.trim()));
    told.map(|(field, _)| (*field, 0)).or_else(|| {
        // A field that the configuration names is not guessed too.
        Field::guess(head).filter(|(field, _)| columns.iter().all(|(f, _)| f != field))
    })
}

fn line_of(heads: &[Option<(Field, u8)>], record: &csv::StringRecord) -> Line {
    let mut line = Line::default();
    let mut users: Vec<(u8, String)> = Vec::new();
    for (value, head) in record.iter().zip(heads) {
        let (Some((field, rank)), value) = (head, value.trim()) else { continue };
        if value.is_empty() {
            continue;
        }
        match field {
            Field::Mac => line.mac.push(value.to_owned()),
            Field::Name if line.name.is_empty() => value.clone_into(&mut line.name),
            Field::Name => {}
            Field::Address => line.address.push(value.to_owned()),
            Field::User => users.push((*rank, value.to_owned())),
            Field::Department => value.clone_into(&mut line.department),
            Field::Groups => line.groups.push(value.to_owned()),
        }
    }
    users.sort_by_key(|u| u.0);
    line.user = users.into_iter().map(|u| u.1).collect();
    line
}

/// `00:11:22:33:44:55`, `00-11-22-33-44-55`, `0011.2233.4455`, `001122334455`.
fn any_mac(text: &str) -> Option<MacAddr> {
    mac(text).or_else(|| {
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
        if digits.len() != 12 || !digits.is_ascii() {
            return None;
        }
        let mut octets = [0; 6];
        for (place, octet) in octets.iter_mut().enumerate() {
            *octet = u8::from_str_radix(digits.get(place * 2..place * 2 + 2)?, 16).ok()?;
        }
        Some(MacAddr(octets))
    })
}

/// `CN=Sales,OU=Groups,DC=corp` is called `Sales`.
fn group(text: &str) -> Text {
    let text = text.trim();
    let first = text.split(',').next().unwrap_or_default();
    let plain = first.split_once('=').filter(|(k, _)| k.eq_ignore_ascii_case("cn"));
    Text::from(plain.map_or(text, |(_, name)| name.trim()))
}

/// The part of a wrong value that is shown: enough to find it.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

fn told(file: &str, line: usize, why: &str) -> Problem {
    Problem {
        severity: crate::written::Severity::Warning,
        place: Some(Place::line(file, line)),
        message: why.to_owned(),
        hint: None,
    }
}

/// The same for the other readers of files.
pub(super) fn not_used(file: &Arc<str>, line: usize, why: &str) -> Problem {
    told(file, line, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Inventory, Vec<String>) {
        let mut inventory = Inventory::default();
        let problems = inventory.read("a.csv", text, &[]);
        let line = |p: &Problem| format!("{}: {}", p.place.as_ref().unwrap().line, p.message);
        (inventory, problems.iter().map(line).collect())
    }

    fn user(inventory: &Inventory, mac: &str) -> Option<String> {
        inventory.by_mac(any_mac(mac)?)?.user.as_deref().map(str::to_owned)
    }

    #[test]
    fn an_export_of_intune() {
        let text = "\u{feff}Device name,Primary user UPN,Wi-Fi MAC,Ethernet MAC,Department\n\
                    LAPTOP-7,Anna@corp.test,001122334455,00-11-22-33-44-66,Sales\n\
                    LAPTOP-8,,zz,,\n\
                    ,,,,\n";
        let (inventory, problems) = read(text);
        assert_eq!(user(&inventory, "00:11:22:33:44:55").as_deref(), Some("anna"));
        assert_eq!(user(&inventory, "0011.2233.4466").as_deref(), Some("anna"));
        let by_name = inventory.by_name("laptop-7.corp.test").unwrap();
        assert_eq!(by_name.user.as_deref(), Some("anna"));
        assert_eq!(inventory.person("anna").unwrap().department.as_deref(), Some("Sales"));
        let expected = ["3: `zz` is no link address", "4: names neither a device nor a person"];
        assert_eq!(problems, expected);
    }

    #[test]
    fn a_directory_with_semicolons_and_aliases() {
        let text = "sAMAccountName;mail;Abteilung;memberOf\n\
                    amueller;anna.mueller@corp.test;Vertrieb;CN=Sales,OU=G|CN=All\n\
                    PC7$;;;\n";
        let (inventory, problems) = read(text);
        let login = inventory.login(&Text::from("anna.mueller"));
        assert_eq!(&*login, "amueller");
        let person = inventory.person(&login).unwrap();
        assert_eq!(person.groups, ["Sales", "All"].map(Text::from));
        assert_eq!(problems, ["3: `PC7$` is no person's login"]);
    }

    #[test]
    fn what_two_have_is_nobodys() {
        let text = "name,user,mac\nimac,anna,\nimac,ben,\nlaptop,eva,02:00:00:00:00:01\n\
                    dock,eva,02:00:00:00:00:01\n";
        let (inventory, _) = read(text);
        assert!(inventory.by_name("iMac").is_none());
        assert_eq!(
            user(&inventory, "02:00:00:00:00:01").as_deref(),
            Some("eva"),
            "the same person"
        );
    }

    #[test]
    fn columns_can_be_told() {
        let mut inventory = Inventory::default();
        let columns = [(Field::User, "Besitzer".to_owned()), (Field::Mac, "Netz".to_owned())];
        let text = "Besitzer,Netz,user\nanna,02:00:00:00:00:01,somebody\n";
        assert!(inventory.read("a.csv", text, &columns).is_empty());
        assert_eq!(user(&inventory, "02:00:00:00:00:01").as_deref(), Some("anna"));
        let problems = inventory.read("b.csv", "a,b\n1,2\n", &[]);
        assert!(problems[0].message.contains("no column"), "{problems:?}");
    }

    #[test]
    fn toml_says_the_same() {
        let mut inventory = Inventory::default();
        let text = "[[device]]\nmac = [\"02:00:00:00:00:01\"]\nuser = [\"anna\"]\n\n\
                    [[person]]\nuser = [\"anna\"]\ndepartment = \"Sales\"\n[[device]]\nmac = [\"x\"]\n";
        let problems = inventory.read("a.toml", text, &[]);
        assert_eq!(user(&inventory, "02:00:00:00:00:01").as_deref(), Some("anna"));
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].place.as_ref().unwrap().line, 8);
        assert_eq!(inventory.read("b.toml", "[[devices]]\n", &[]).len(), 1);
    }
}
