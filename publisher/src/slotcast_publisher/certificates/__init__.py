"""Certificates of devices, publishers and brokers, from the first to the last (docs/adr/0170).

profiles             what is in a certificate and in a revocation list: pure
certificate_request  a PKCS#10 or enrolment request, read strictly
authorities          the certificate authorities of a repository, a file each
issued_record        which certificates were made, and which of them count no more
desk                 what the commands ask for, in an order that a power cut cannot break
renewals             answers devices whose certificates end
broker_files         what the broker reads
container            runs it in a container
broker_settings      its configuration: that of mosquitto/, at its place
"""
