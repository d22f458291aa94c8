use std::path::PathBuf;
use shadowtap::answer::observations::Observations;
use shadowtap::observation::Batch;
use shadowtap::recorder::{desk::*, signature::*, policy::Policy};
use shadowtap::sensor;
use shadowtap::watcher::{capture::*, decode::*, flow::Limits};
use std::sync::Arc;
struct L<W: std::io::Write> { desk: Desk, obs: Observations<W>, rows: usize }
impl<W: std::io::Write> sensor::Listener for L<W> {
    fn block(&mut self, b: &[Batch], _d: &[(u16, DecodeCounters)]) { let obs=&mut self.obs; self.desk.block(b, &mut |o,t| obs.observe(o,t)); }
    fn world(&mut self, _f: usize, _i: &[InputReport]) { let r = self.desk.finish(|i| Arc::from(i.to_string())); self.rows += r.iter().map(|(_,r)| r.usage.len()).sum::<usize>(); }
    fn progress(&mut self, _r: u64, _t: Option<u64>, _f: u64) {}
}
fn main() {
    let mut args = std::env::args().skip(1);
    let sep = args.next().unwrap() == "sep";
    let threads: usize = args.next().unwrap().parse().unwrap();
    let out = std::fs::File::create(args.next().unwrap()).unwrap();
    let paths: Vec<PathBuf> = args.map(PathBuf::from).collect();
    let inputs = Inputs::open(&paths, &Options { separate: sep, ..Options::default() }).unwrap();
    let names: Vec<String> = inputs.reports().iter().map(|r| r.name.clone()).collect();
    let rules = Rulebook { catalogue: Arc::new(Catalogue::embedded().unwrap()), clients: Arc::new(Clients::embedded().unwrap()), network: Arc::new(Network::embedded().unwrap()), policy: Arc::new(Policy::default()), own_networks: vec![], bulk_bytes: 1_000_000 };
    let mut l = L { desk: Desk::new(rules), obs: Observations::new(std::io::BufWriter::new(out), names), rows: 0 };
    let t = sensor::run_offline(inputs, &sensor::Options { watchers: threads, decode: DecodeOptions { hash_seed: 1, ..Default::default() }, limits: Limits::of(1<<21), stop: Default::default() }, &mut l);
    eprintln!("{t:?} rows {}", l.rows);
    l.obs.finish().unwrap();
}
