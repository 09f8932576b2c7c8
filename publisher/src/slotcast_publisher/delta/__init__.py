"""The delta encoder: what it takes to make a new release from an old one."""
