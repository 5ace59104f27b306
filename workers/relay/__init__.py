"""The relay: alerts to people and their tools. One lane for each target; none waits for another."""
