"""Many devices in one process, to size a broker and to prove the engine that rolls releases out.

Each device is the real one: `slotcast_device.shell` with its cores, connection and jobs, so that
notices are verified, chunks come over MQTT, and slots are hashed. What is invented, and said to be
in what comes out: the verdict of the probe, since hundreds of child processes that load a runtime
would measure this machine; and the applications, whose figures follow a script. Disks are in
memory, and share what they hold alike.

    script -> population -> device <- loop <- simulation
                            application, memory_disk, record

This room alone knows both sides: it needs slotcast-device, and comes with the extra
`slotcast-publisher[simulate]` (docs/adr/0110).
"""
