"""The commands about the fleet, a module each; `cli.command_table` names them."""
