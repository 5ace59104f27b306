"""Why a forecast is what it is: what each input, expert and gate did to it, from a series' state alone. Read only; nothing here learns."""
