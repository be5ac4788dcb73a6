//! A network of the nodes' own: a bridge in the namespace of this process, and a cable to each
//! node. What goes wrong on a cable is a rule of its node's packet filter, with a counter that
//! shows whether it ever took effect.

use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::process::Command;

use crate::room::{Room, succeed};

const BRIDGE: &str = "chaos";

/// Whoever asks the nodes: this process.
const DRIVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// The address of a node, by its number counted from 1.
pub(crate) fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number as u8)
}

/// Makes the bridge, unless it is there. This process must be in a network namespace of its own, see
/// [`crate::isolate`].
pub(crate) async fn make_bridge() -> anyhow::Result<()> {
    let mut show = Command::new("ip");
    show.args(["link", "show", BRIDGE]);
    if succeed(show).await.is_ok() {
        return Ok(());
    }
    let driver = format!("{DRIVER}/24");
    for arguments in [
        &["link", "set", "lo", "up"] as &[&str],
        &["link", "add", BRIDGE, "type", "bridge"],
        &["address", "add", &driver, "dev", BRIDGE],
        &["link", "set", BRIDGE, "up"],
    ] {
        let mut ip = Command::new("ip");
        ip.args(arguments);
        succeed(ip).await.context("needs the package iproute2")?;
    }
    Ok(())
}

/// The cable of one node.
pub struct Cable {
    room: Arc<Room>,
}

/// What happens to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// What comes from the other is lost.
    Drop,
    /// This share of what comes from the other is lost.
    Lose(f64),
    /// This share of what goes to the other breaks its connection.
    Reset(f64),
}

impl Cable {
    /// Connects a node.
    pub(crate) async fn new(room: Arc<Room>, number: usize) -> anyhow::Result<Self> {
        let (port, holder) = (format!("node{number}"), room.holder()?.to_string());
        let mut add = Command::new("ip");
        add.args(["link", "add", &port, "type", "veth", "peer", "name", "eth0"])
            .args(["netns", &holder]);
        succeed(add).await?;
        let mut plug = Command::new("ip");
        plug.args(["link", "set", &port, "master", BRIDGE, "up"]);
        succeed(plug).await?;
        let cable = Self { room };
        let own = format!("{}/24", address(number));
        cable.ip(&["address", "add", &own, "dev", "eth0"]).await?;
        cable.ip(&["link", "set", "eth0", "up"]).await?;
        cable.ip(&["link", "set", "lo", "up"]).await?;
        Ok(cable)
    }

    async fn ip(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut ip = self.room.run("ip")?;
        ip.args(arguments);
        succeed(ip).await?;
        Ok(())
    }

    /// Makes trouble between this node and another, by its number.
    pub async fn make_trouble(&self, other: usize, trouble: Trouble) -> anyhow::Result<()> {
        let other = address(other).to_string();
        let (chain, side) = match trouble {
            Trouble::Drop | Trouble::Lose(_) => ("INPUT", "--source"),
            Trouble::Reset(_) => ("OUTPUT", "--destination"),
        };
        let mut rule = self.filter()?;
        rule.args(["--append", chain, "--protocol", "tcp", side, &other]);
        if let Trouble::Lose(share) | Trouble::Reset(share) = trouble {
            rule.args(["--match", "statistic", "--mode", "random", "--probability"])
                .arg(share.to_string());
        }
        match trouble {
            Trouble::Drop | Trouble::Lose(_) => rule.args(["--jump", "DROP"]),
            Trouble::Reset(_) => rule.args(["--jump", "REJECT", "--reject-with", "tcp-reset"]),
        };
        succeed(rule).await.context("needs the package iptables")?;
        Ok(())
    }

    /// Ends all trouble. Gives how many packets it met.
    pub async fn mend(&self) -> anyhow::Result<u64> {
        let mut met = 0;
        for chain in ["INPUT", "OUTPUT"] {
            let mut list = self.filter()?;
            list.args(["--list", chain, "--numeric", "--verbose", "--exact"]);
            met += packets(&succeed(list).await?);
        }
        let mut flush = self.filter()?;
        flush.arg("--flush");
        succeed(flush).await?;
        Ok(met)
    }

    /// Lets no more than this through, in both directions, also for clients.
    pub async fn narrow(&self, kilobits_per_second: u64) -> anyhow::Result<()> {
        let rate = format!("{kilobits_per_second}kbit");
        let mut tc = self.room.run("tc")?;
        tc.args(["qdisc", "add", "dev", "eth0", "root", "tbf", "rate", &rate])
            .args(["burst", "16kb", "latency", "500ms"]);
        succeed(tc).await?;
        Ok(())
    }

    /// Lets everything through again. Gives how often something had to wait.
    pub async fn widen(&self) -> anyhow::Result<u64> {
        let mut show = self.room.run("tc")?;
        show.args(["-s", "qdisc", "show", "dev", "eth0"]);
        let shown = succeed(show).await?;
        let waited = shown.split("overlimits ").nth(1);
        let waited = waited.and_then(|rest| rest.split_whitespace().next());
        let waited = waited.context("tc shows no overlimits")?.parse()?;
        let mut tc = self.room.run("tc")?;
        tc.args(["qdisc", "delete", "dev", "eth0", "root"]);
        succeed(tc).await?;
        Ok(waited)
    }

    fn filter(&self) -> anyhow::Result<Command> {
        let mut command = self.room.run("iptables")?;
        // Another one may be at work on the same kernel.
        command.arg("--wait");
        Ok(command)
    }
}

/// The packets that rules met, from what iptables lists.
fn packets(listed: &str) -> u64 {
    let rules = listed.lines().skip(2);
    rules
        .filter_map(|rule| rule.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packets_of_all_rules_are_counted() {
        let listed = "Chain INPUT (policy ACCEPT 7 packets, 9 bytes)\n\
             \x20   pkts      bytes target     prot opt in     out     source               destination\n\
             \x20      3      120 DROP       6    --  *      *       10.77.0.2            0.0.0.0/0\n\
             \x20     40     1200 DROP       6    --  *      *       10.77.0.3            0.0.0.0/0\n";
        assert_eq!(packets(listed), 43);
    }
}
