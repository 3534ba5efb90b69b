<?php

/**
 * Logs the customers of a panel in: the panel posts their address and an app password of Postroom.
 *
 * Only a form of $config['postroom_panel'] counts, as the browser says in the header Origin. So no
 * other site can log anybody in to a mailbox of its own.
 */
class postroom_login extends rcube_plugin
{
    public $task = 'login';

    public function init()
    {
        $this->add_hook('startup', [$this, 'startup']);
        $this->add_hook('authenticate', [$this, 'authenticate']);
    }

    /** Somebody else may have used this browser before. */
    public function startup($args)
    {
        if ($this->is_from_panel()) {
            rcmail::get_instance()->kill_session();
        }
        return $args;
    }

    /** The form has neither Roundcube's token nor its cookie. */
    public function authenticate($args)
    {
        if ($this->is_from_panel()) {
            $args['valid'] = true;
            $args['cookiecheck'] = false;
        }
        return $args;
    }

    private function is_from_panel()
    {
        $panel = rcmail::get_instance()->config->get('postroom_panel');
        return $panel && $_SERVER['REQUEST_METHOD'] === 'POST' && ($_SERVER['HTTP_ORIGIN'] ?? '') === $panel;
    }
}
