//! IPv4 ranges: their arithmetic, the host's routes, and the choice of a range that is free.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::{Error, Result};

/// An IPv4 range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The first address of the range.
    pub base: Ipv4Addr,
    /// The number of leading bits that all its addresses share.
    pub prefix: u8,
}

impl Subnet {
    /// The range of `prefix` bits around an address.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Subnet {
        let prefix = prefix.min(32);
        Subnet { base: Ipv4Addr::from_bits(address.to_bits() & mask(prefix)), prefix }
    }

    /// Whether an address is inside.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.base.to_bits()
    }

    /// Whether two ranges share an address.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// The first usable address: the bridge's own.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() + 1)
    }

    /// The last address: the broadcast one.
    pub fn last(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.base.to_bits() | !mask(self.prefix))
    }

    /// The addresses that containers can have, lowest first.
    pub fn container_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (self.base.to_bits() + 2..self.last().to_bits()).map(Ipv4Addr::from_bits)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Subnet> {
        let parse = || {
            let (base, prefix) = text.split_once('/')?;
            let subnet = Subnet { base: base.parse().ok()?, prefix: prefix.parse().ok()? };
            (subnet.prefix <= 30 && Subnet::new(subnet.base, subnet.prefix) == subnet).then_some(subnet)
        };
        parse().ok_or_else(|| Error::BadSubnet(text.to_owned()))
    }
}

/// The interface of the host's default route, and every other range that the host routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// The interface that leads outside.
    pub default_interface: Option<String>,
    /// The ranges that are taken.
    pub taken: Vec<Subnet>,
}

impl Routes {
    /// The routes of the calling thread's network namespace.
    pub fn of_host() -> Result<Routes> {
        const FILE: &str = "/proc/thread-self/net/route";
        let text = std::fs::read_to_string(FILE).map_err(|cause| Error::kernel("read", FILE, cause))?;
        Ok(Routes::parse(&text))
    }

    /// Reads the kernel's table: interface, destination and (eighth) mask, numbers in network order as hex.
    fn parse(table: &str) -> Routes {
        let mut routes = Routes::default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(interface), Some(base), Some(mask)) =
                (fields.first(), hex_address(fields.get(1)), hex_address(fields.get(7)))
            else {
                continue;
            };
            let prefix = mask.to_bits().count_ones() as u8;
            if prefix == 0 {
                routes.default_interface.get_or_insert_with(|| (*interface).to_owned());
            } else {
                routes.taken.push(Subnet { base, prefix });
            }
        }
        routes
    }
}

fn hex_address(field: Option<&&str>) -> Option<Ipv4Addr> {
    let number = u32::from_str_radix(field?, 16).ok()?;
    Some(Ipv4Addr::from(number.to_ne_bytes()))
}

/// Chooses a range that overlaps none of those `taken`: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 and on.
pub fn pick_subnet(taken: &[Subnet]) -> Result<Subnet> {
    let large = (17..32).map(|second| Subnet { base: Ipv4Addr::new(172, second, 0, 0), prefix: 16 });
    let small = (0..16).map(|part| Subnet { base: Ipv4Addr::new(192, 168, part * 16, 0), prefix: 20 });
    large
        .chain(small)
        .find(|candidate| !taken.iter().any(|other| other.overlaps(candidate)))
        .ok_or(Error::NoSubnet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_of_a_range() {
        let subnet: Subnet = "172.18.0.0/16".parse().unwrap();
        assert_eq!(subnet.gateway(), Ipv4Addr::new(172, 18, 0, 1));
        assert_eq!(subnet.last(), Ipv4Addr::new(172, 18, 255, 255));
        assert_eq!(subnet.container_addresses().next(), Some(Ipv4Addr::new(172, 18, 0, 2)));
        assert_eq!(subnet.container_addresses().count(), 65533);
        assert!(
            subnet.contains(Ipv4Addr::new(172, 18, 9, 9)) && !subnet.contains(Ipv4Addr::new(172, 19, 0, 0))
        );
        assert!(subnet.overlaps(&"172.16.0.0/12".parse().unwrap()));
        for bad in ["172.18.0.1/16", "172.18.0.0", "1.2.3.4/31", "x/8", "0.0.0.0/99"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
        assert!(Subnet { base: Ipv4Addr::UNSPECIFIED, prefix: 0 }.contains(Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn routes_are_read_from_the_kernels_table() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
            eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nbroken\n";
        let routes = Routes::parse(table);
        assert_eq!(routes.default_interface.as_deref(), Some("eth0"));
        assert_eq!(routes.taken, ["192.0.2.0/24".parse().unwrap()]);
    }

    #[test]
    fn a_picked_range_is_free() {
        let taken = ["172.17.0.0/16".parse().unwrap(), "172.18.5.0/24".parse().unwrap()];
        assert_eq!(pick_subnet(&taken).unwrap().to_string(), "172.19.0.0/16");
        let taken = ["172.16.0.0/12".parse().unwrap(), "192.168.0.0/24".parse().unwrap()];
        assert_eq!(pick_subnet(&taken).unwrap().to_string(), "192.168.16.0/20");
        let all = Subnet { base: Ipv4Addr::UNSPECIFIED, prefix: 0 };
        assert!(matches!(pick_subnet(&[all]), Err(Error::NoSubnet)));
    }
}
