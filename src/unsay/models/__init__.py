"""The networks in torch; never imported by the running half."""
