"""Which key is a device's own, as it said itself and a person brought it here.

request     an enrolment request, read strictly and proven
registry    the devices that are enrolled, beside the repository
key_index   which of them has which key, without reading every one
known_keys  their keys, looked up for each message
"""
