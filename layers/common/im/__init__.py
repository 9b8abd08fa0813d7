"""The instant-messaging backend. Imports run one way: runtime → flows → store, aws → wire, domain."""
