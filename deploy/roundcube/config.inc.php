<?php
// Roundcube for the mailboxes of Postroom: /etc/roundcube/config.inc.php on Debian 12.

$config = [];
$config['db_dsnw'] = 'sqlite:////var/lib/roundcube/db/roundcube.db?mode=0640';
$config['imap_host'] = 'ssl://mail.example.com:993';
$config['smtp_host'] = 'ssl://mail.example.com:465';
$config['smtp_user'] = '%u';
$config['smtp_pass'] = '%p';
// The panel whose form logs people in: scheme, host and a port that is not the usual one.
$config['postroom_panel'] = 'https://panel.example.com';
$config['plugins'] = ['postroom_login'];
// With this key, Roundcube encrypts the app password in its sessions.
$config['des_key'] = trim(file_get_contents('/etc/roundcube/des_key'));
$config['skin'] = 'elastic';
$config['product_name'] = 'Mail';
