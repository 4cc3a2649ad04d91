-- id, type, data, url, target, owner, created, give_up -> 1: added, 0: it waits already.
return add_webhook(unpack(ARGV))
