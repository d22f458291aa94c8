//! Which kind of client it was: a browser, a program, a server.
//!
//! In: JA4 and ALPN of a hello, user agent and headers of a request, as far as there are any.
//! Out: [`ClientClass`] and the evidence for it, the id of an entry or the name of a rule.
//! Never: names a vendor from TLS. JA4 names a TLS stack: one value covers every Python program.
//! Limits of what it can say: a library that imitates a browser's hello is taken for that
//! browser; a browser from before `encrypted_client_hello` (Firefox up to 118, Safari up to 12)
//! with an unknown JA4 is taken for a program; a desktop application built on a browser engine
//! is taken for a browser; one that uses the system's TLS is a program only by the rules below.
//! Source: JA4 TLS client fingerprint (BSD); values in `signatures/clients.toml`.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::source::{self, CatalogueError, File};
use crate::recorder::words::ClientClass;

/// The file with the client stacks.
pub(super) const FILE: &str = "clients.toml";

/// Known client stacks.
#[derive(Debug)]
pub struct Clients {
    stacks: Vec<Stack>,
    by_ja4: HashMap<String, usize>,
    agents: Vec<Agent>,
}

/// A TLS stack as its hello shows it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stack {
    id: Spanned<String>,
    #[expect(dead_code, reason = "for people who read the file")]
    name: String,
    class: Class,
    /// Whole values.
    #[serde(default)]
    ja4: Vec<Spanned<String>>,
    /// Parts that hold across versions.
    #[serde(default)]
    part: Vec<Part>,
    source: String,
    date: String,
}

/// Cipher list plus carrier and ALPN: what stays when extensions come and go.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// Second part of JA4: hash of the cipher list.
    b: String,
    /// First character of JA4: `t`, `q` or `d`.
    transport: String,
    /// Last two characters of the first part; empty list: any.
    #[serde(default)]
    alpn: Vec<String>,
}

/// A client by the beginning of its User-Agent, or by a token within it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Agent {
    id: Spanned<String>,
    #[expect(dead_code, reason = "for people who read the file")]
    name: String,
    class: Class,
    prefix: Option<String>,
    token: Option<String>,
    #[expect(dead_code, reason = "for people who read the file")]
    source: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Class {
    Browser,
    Program,
    AgentCli,
    Tool,
    Server,
}

impl From<Class> for ClientClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Browser => ClientClass::Browser,
            Class::Program | Class::AgentCli | Class::Tool => ClientClass::Program,
            Class::Server => ClientClass::Server,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    stack: Vec<Stack>,
    #[serde(default)]
    agent: Vec<Agent>,
}

impl Clients {
    /// The table that the binary carries.
    ///
    /// # Errors
    /// Names file and line; a test of ours makes sure that a release has none.
    pub fn embedded() -> Result<Self, CatalogueError> {
        Self::build(&source::embedded(|name| name == FILE))
    }

    /// The table of a folder; the embedded one if the folder has none.
    ///
    /// # Errors
    /// Names file and line of the first thing that is wrong.
    pub fn from_dir(dir: &Path) -> Result<Self, CatalogueError> {
        let files = source::from_dir(dir, |name| name == FILE)?;
        if files.is_empty() { Self::embedded() } else { Self::build(&files) }
    }

    /// The class of a client, and the evidence for it: the id of an entry in `clients.toml`, or
    /// the name of a rule. Unknown facts are empty or `false`.
    ///
    /// What a request says in clear comes first: a header that only AI SDKs send, then a
    /// User-Agent of a program, for no browser calls itself one. Then JA4, whole before parts.
    /// Then a browser's User-Agent. Last the rules: GREASE or an `encrypted_client_hello`
    /// extension are habits of browsers; a hello without either is a program's, and more surely
    /// so if it offers HTTP/1.1 alone or no ALPN at all.
    pub fn class_of(
        &self,
        ja4: &str,
        user_agent: &str,
        alpn: &str,
        grease: bool,
        ech: bool,
        sdk: bool,
    ) -> (ClientClass, &str) {
        if sdk {
            return (ClientClass::Program, "sdk-header");
        }
        let agent = self.agent(user_agent);
        let browser = agent.is_some_and(|a| a.class == Class::Browser);
        if let Some(agent) = agent.filter(|_| !browser) {
            return (agent.class.into(), agent.id.get_ref());
        }
        if let Some(stack) = self.stack(ja4) {
            return (stack.class.into(), stack.id.get_ref());
        }
        if let Some(agent) = agent {
            return (agent.class.into(), agent.id.get_ref());
        }
        match (ja4.is_empty(), grease, ech) {
            (true, ..) => (ClientClass::Unknown, ""),
            (_, true, _) => (ClientClass::Browser, "grease"),
            (_, _, true) => (ClientClass::Browser, "ech-extension"),
            _ if alpn.is_empty() => (ClientClass::Program, "no-grease-no-ech-no-alpn"),
            _ if alpn == "http/1.1" => (ClientClass::Program, "no-grease-no-ech-http1"),
            _ => (ClientClass::Program, "no-grease-no-ech"),
        }
    }

    /// The entry that a User-Agent begins with, the longest one; else one whose token it holds.
    fn agent(&self, user_agent: &str) -> Option<&Agent> {
        if user_agent.is_empty() {
            return None;
        }
        let fits = |a: &&Agent| a.prefix.as_ref().is_some_and(|p| user_agent.starts_with(p));
        let holds = |a: &&Agent| a.token.as_ref().is_some_and(|t| user_agent.contains(t));
        let by_token = self.agents.iter().find(holds);
        by_token.or_else(|| {
            self.agents.iter().filter(fits).max_by_key(|a| a.prefix.as_ref().map(String::len))
        })
    }

    fn stack(&self, ja4: &str) -> Option<&Stack> {
        if let Some(&at) = self.by_ja4.get(ja4) {
            return self.stacks.get(at);
        }
        let mut parts = ja4.splitn(3, '_');
        let (a, b) = (parts.next()?, parts.next()?);
        let fits = |p: &Part| {
            p.b == b
                && a.starts_with(&p.transport)
                && (p.alpn.is_empty() || p.alpn.iter().any(|v| a.ends_with(v)))
        };
        self.stacks.iter().find(|s| s.part.iter().any(fits))
    }

    fn build(files: &[File]) -> Result<Self, CatalogueError> {
        let mut clients = Self { stacks: Vec::new(), by_ja4: HashMap::new(), agents: Vec::new() };
        for file in files {
            let raw: RawFile = file.parse()?;
            for stack in raw.stack {
                clients.add(file, stack)?;
            }
            for agent in &raw.agent {
                let ways = [&agent.prefix, &agent.token];
                let given = ways.into_iter().flatten().filter(|w| !w.is_empty()).count();
                if given != 1 {
                    let message = "an agent needs either a prefix or a token".to_owned();
                    return Err(file.error(agent.id.span(), message));
                }
            }
            clients.agents.extend(raw.agent);
        }
        Ok(clients)
    }

    fn add(&mut self, file: &File, stack: Stack) -> Result<(), CatalogueError> {
        let at = self.stacks.len();
        if stack.source.is_empty() || stack.date.parse::<jiff::civil::Date>().is_err() {
            let message = "a stack needs a source and a date".to_owned();
            return Err(file.error(stack.id.span(), message));
        }
        for ja4 in &stack.ja4 {
            let value = ja4.get_ref();
            let lengths: Vec<usize> = value.split('_').map(str::len).collect();
            if lengths != [10, 12, 12] {
                return Err(file.error(ja4.span(), format!("{value:?} is not a JA4 value")));
            }
            if self.by_ja4.insert(value.clone(), at).is_some() {
                return Err(file.error(ja4.span(), format!("{value:?} stands here twice")));
            }
        }
        self.stacks.push(stack);
        Ok(())
    }
}
