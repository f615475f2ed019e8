"""What the component and end-to-end tests stand on: brokers, databases, simulators and our programs as objects."""
