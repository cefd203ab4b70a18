//! A small client for the route and firewall netlink families.
